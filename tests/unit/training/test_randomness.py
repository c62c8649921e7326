import random

import numpy as np
import torch

from regard.training.checkpoint import load_checkpoint, save_checkpoint
from regard.training.randomness import kept_random_state, random_state, seed_everything, set_random_state


def draw() -> tuple:
    # A normal deviate of numpy and one of python leave a second one in the state.
    return (
        torch.rand(3).tolist(),
        np.random.rand(2).tolist(),
        np.random.randn(),
        random.gauss(0, 1),
        random.random(),
    )


def test_a_seed_decides_every_stream():
    seed_everything(5)
    first = draw()
    draw()
    seed_everything(5)
    assert draw() == first


def test_streams_go_on_where_their_state_was_noted_through_a_file(tmp_path):
    seed_everything(7)
    draw()
    save_checkpoint(tmp_path / "state", {"random": random_state()})
    expected = draw(), draw()
    seed_everything(11)
    set_random_state(load_checkpoint(tmp_path / "state")["random"])
    assert (draw(), draw()) == expected


def test_what_is_drawn_inside_is_not_noticed():
    seed_everything(13)
    expected = draw()
    seed_everything(13)
    with kept_random_state():
        draw()
    assert draw() == expected
