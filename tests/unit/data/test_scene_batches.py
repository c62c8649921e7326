"""Batches of scenes: the same however they are read, and the same when a run goes on."""

from random import Random

import pytest
import torch

from regard.data.augmentation import Augmentation
from regard.data.scene import Scene
from regard.data.scene_batches import SceneBatches


def read(item: int) -> Scene:
    generator = torch.Generator().manual_seed(item)
    mask = torch.full((20, 30), item, dtype=torch.uint8)
    return Scene(picture=torch.randint(0, 256, (3, 20, 30), generator=generator).byte(), mask=mask)


def batches(**options) -> SceneBatches:
    settings = {"augmentation": Augmentation(), "size": (16, 17), "batch": 3, "seed": 5, **options}
    return SceneBatches(read, 11, **settings)


def numbers(made) -> list[list[int]]:
    """Which scenes the batches are of."""
    return [[int(mask[mask != 255].float().mean()) for mask in batch.masks] for batch in made]


def test_an_epoch_has_every_scene_once():
    one = batches()
    assert len(one) == 4
    first, second = list(one), list(one)
    assert [batch.count for batch in first] == [len(batch.pictures) for batch in first]
    assert sorted(batch.count for batch in first) == [2, 3, 3, 3]
    assert first[0].pictures.shape[1:] == (3, 16, 17)
    assert first[0].pictures.dtype == torch.uint8
    found, other = numbers(first), numbers(second)
    assert sorted(number for batch in found for number in batch) == list(range(11))
    assert found != other, "another epoch, another order"


@pytest.mark.parametrize("position", [0, 2, 3])
def test_a_run_that_goes_on_has_the_same_batches(position):
    whole, rest = batches(), batches()
    expected = list(whole)[position:]
    rest.load_state_dict({"epoch": 0, "position": position})
    for one, other in zip(rest, expected, strict=True):
        assert torch.equal(one.pictures, other.pictures)
        assert torch.equal(one.masks, other.masks)


def test_what_chance_does_to_a_scene_is_the_epochs_and_the_scenes_own():
    one, other = batches(batch=1), batches(batch=4)
    alone = {int(batch.masks[batch.masks != 255][0]): batch.pictures[0] for batch in one}
    for batch in other:
        for picture, number in zip(batch.pictures, numbers([batch])[0], strict=True):
            assert torch.equal(picture, alone[number])
    changed = Augmentation()(read, 4, 11, (16, 17), Random("5 0 4"))
    assert torch.equal(alone[4], changed.picture)


def test_a_scene_that_cannot_be_read_ends_the_epoch():
    def broken(item: int) -> Scene:
        if item == 7:
            raise ValueError("7.png is damaged")
        return read(item)

    one = SceneBatches(broken, 11, augmentation=Augmentation(), size=(16, 17), batch=3, seed=5)
    with pytest.raises(ValueError, match=r"7\.png is damaged"):
        list(one)


def test_reading_ahead_draws_nothing_from_the_global_streams():
    before = torch.random.get_rng_state()
    list(batches())
    assert torch.equal(before, torch.random.get_rng_state())
