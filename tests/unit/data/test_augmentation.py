"""Laws of augmentation: a function of its own chance alone, of the size that is asked for."""

from random import Random

import pytest
import torch

from regard.data.augmentation import Augmentation
from regard.data.scene import IGNORE, Scene

NOTHING = Augmentation(flip=0.0, smallest=1.0, largest=1.0, stretch=1.0, colour=0.0)


def read(item: int) -> Scene:
    generator = torch.Generator().manual_seed(item)
    mask = torch.full((30, 41), item, dtype=torch.uint8)
    return Scene(picture=torch.randint(0, 256, (3, 30, 41), generator=generator).byte(), mask=mask)


def test_without_any_change_it_is_the_scene():
    scene = NOTHING(read, 3, 5, (30, 41), Random(1))
    assert torch.equal(scene.picture, read(3).picture)
    assert torch.equal(scene.mask, read(3).mask)


@pytest.mark.parametrize("options", [{}, {"mosaic": 1.0}, {"turn": 1.0}, {"smallest": 0.1, "largest": 0.2}])
def test_the_same_chance_makes_the_same_scene(options):
    change = Augmentation(**options)
    before = torch.random.get_rng_state()
    one, other, third = (change(read, 2, 7, (17, 23), Random(seed)) for seed in ("a", "a", "b"))
    assert torch.equal(before, torch.random.get_rng_state())
    assert one.size == other.size == (17, 23)
    assert torch.equal(one.picture, other.picture)
    assert torch.equal(one.mask, other.mask)
    assert not torch.equal(one.picture, third.picture)
    assert set(one.mask.unique().tolist()) <= ({IGNORE, 2} if not options.get("mosaic") else {IGNORE, *range(7)})


def test_a_mosaic_is_of_four_scenes():
    found = set()
    for seed in range(9):
        scene = Augmentation(mosaic=1.0, colour=0.0)(read, 2, 7, (40, 40), Random(seed))
        assert 2 in scene.mask
        found |= set(scene.mask.unique().tolist())
    assert len(found - {IGNORE}) > 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flip": 1.5}, r"augmentation\.flip is a probability"),
        ({"mosaic": -0.1}, r"augmentation\.mosaic is a probability"),
        ({"smallest": 2.0, "largest": 1.0}, "0 < smallest <= largest; got 2.0 and 1.0"),
        ({"stretch": 0.5}, r"augmentation\.stretch is a factor of 1 or more"),
        ({"colour": 1.0}, r"augmentation\.colour is a share"),
    ],
)
def test_what_makes_no_sense_is_named(options, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**options)
