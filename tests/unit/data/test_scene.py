"""Laws of what moves a scene: the picture, the mask and the boxes go together, and come back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.data.scene import GREY, IGNORE, Scene, coloured, cropped, flipped, resized, tiled, turned

SIZES = st.integers(5, 40)


def scene(height: int, width: int, *, seed: int = 0) -> Scene:
    """Noise, with rectangles of the classes 1, 2, ... and the box of each, none over another."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.zeros(height, width, dtype=torch.uint8)
    boxes = [(0, 0, width // 2, height // 2), (width // 2 + 1, height // 2 + 1, width, height)]
    for number, (left, top, right, bottom) in enumerate(boxes, 1):
        mask[top:bottom, left:right] = number
    picture = torch.randint(0, 256, (3, height, width), generator=generator).byte()
    return Scene(picture=picture, mask=mask, boxes=torch.tensor(boxes).float(), labels=torch.tensor([1, 2]))


def box_of(mask: torch.Tensor) -> list[float]:
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return [float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)]


def assert_boxes_are_the_masks(found: Scene, *, off: float = 0.0) -> None:
    for box, label in zip(found.boxes, found.labels, strict=True):
        torch.testing.assert_close(box, torch.tensor(box_of(found.mask == label)), atol=off, rtol=0.0)


def assert_same(one: Scene, other: Scene) -> None:
    assert torch.equal(one.picture, other.picture)
    assert torch.equal(one.mask, other.mask)
    torch.testing.assert_close(one.boxes, other.boxes)
    assert torch.equal(one.labels, other.labels)


@given(SIZES, SIZES)
def test_a_mirror_of_a_mirror_is_the_scene(height, width):
    whole = scene(height, width)
    once = flipped(whole)
    assert_boxes_are_the_masks(once)
    assert torch.equal(once.picture[:, :, 0], whole.picture[:, :, -1])
    assert_same(flipped(once), whole)


@given(SIZES, SIZES)
def test_four_quarters_are_a_whole_turn(height, width):
    whole = scene(height, width)
    once = turned(whole, 1)
    assert once.size == (width, height)
    assert once.picture[:, 0, 0].tolist() == whole.picture[:, 0, -1].tolist(), "what was right is up"
    assert_boxes_are_the_masks(once)
    assert_same(turned(once, 3), whole)
    assert_same(turned(once, 1), turned(whole, 2))


@given(SIZES, SIZES, st.integers(1, 3))
def test_a_scene_made_larger_comes_back(height, width, factor):
    whole = scene(height, width)
    large = resized(whole, height * factor, width * factor)
    assert large.size == (height * factor, width * factor)
    assert_boxes_are_the_masks(large)
    back = resized(large, height, width)
    assert torch.equal(back.mask, whole.mask)
    torch.testing.assert_close(back.boxes, whole.boxes)
    even = Scene(picture=torch.full((3, height, width), 77, dtype=torch.uint8))
    assert torch.equal(resized(even, 13, 17).picture, torch.full((3, 13, 17), 77, dtype=torch.uint8))


@given(SIZES, SIZES, st.data())
def test_what_is_cut_is_the_part(height, width, data):
    whole = scene(height, width)
    assert_same(cropped(whole, 0, 0, height, width), whole)
    top, left = data.draw(st.integers(-9, height + 5)), data.draw(st.integers(-9, width + 5))
    tall, wide = data.draw(SIZES), data.draw(SIZES)
    part = cropped(whole, top, left, tall, wide)
    assert part.size == (tall, wide)
    for row, column in ((0, 0), (tall - 1, wide - 1), (tall // 2, wide // 2)):
        y, x = top + row, left + column
        inside = 0 <= y < height and 0 <= x < width
        assert part.mask[row, column] == (whole.mask[y, x] if inside else IGNORE)
        assert part.picture[:, row, column].tolist() == (whole.picture[:, y, x].tolist() if inside else [GREY] * 3)
    assert_boxes_are_the_masks(part)
    back = cropped(part, -top, -left, height, width)
    known = back.mask != IGNORE
    assert torch.equal(back.mask[known], whole.mask[known])
    assert torch.equal(back.picture[:, known], whole.picture[:, known])


def test_a_box_of_which_little_is_left_goes():
    picture = torch.zeros(3, 10, 10, dtype=torch.uint8)
    whole = Scene(picture=picture, boxes=torch.tensor([[0.0, 0.0, 8.0, 10.0]]), labels=torch.tensor([3]))
    assert cropped(whole, 0, 6, 10, 4).boxes.tolist() == [[0.0, 0.0, 2.0, 10.0]]  # a quarter
    less = cropped(whole, 0, 7, 10, 3)
    assert less.boxes.shape == (0, 4)
    assert less.labels.tolist() == []


@given(st.integers(4, 30), st.integers(4, 30), st.data())
def test_four_scenes_meet_at_the_point(height, width, data):
    row, column = data.draw(st.integers(1, height - 1)), data.draw(st.integers(1, width - 1))
    scenes = [scene(data.draw(SIZES), data.draw(SIZES), seed=number) for number in range(4)]
    whole = tiled(scenes, height, width, row, column)
    assert whole.size == (height, width)
    assert whole.picture[:, row - 1, column - 1].tolist() == scenes[0].picture[:, -1, -1].tolist()
    assert whole.picture[:, row - 1, column].tolist() == scenes[1].picture[:, -1, 0].tolist()
    assert whole.picture[:, row, column - 1].tolist() == scenes[2].picture[:, 0, -1].tolist()
    assert whole.picture[:, row, column].tolist() == scenes[3].picture[:, 0, 0].tolist()
    assert len(whole.boxes) == len(whole.labels)
    for (left, top, right, bottom), label in zip(whole.boxes.int().tolist(), whole.labels, strict=True):
        assert (whole.mask[top:bottom, left:right] == label).all()


def test_light_that_does_not_change_changes_nothing():
    whole = scene(13, 11)
    assert_same(coloured(whole), whole)
    assert_same(coloured(whole, hue=1.0), whole)
    grey = Scene(picture=torch.arange(99).view(1, 9, 11).expand(3, 9, 11).byte())
    for change in ({"saturation": 0.3}, {"hue": 0.31}):
        off = coloured(grey, **change).picture.int() - grey.picture.int()
        assert off.abs().max() <= 1
    assert torch.equal(coloured(grey, brightness=2.0).picture, grey.picture * 2)
    flat = coloured(grey, contrast=0.0).picture
    assert flat.unique().tolist() == [49]  # the mean grey


@pytest.mark.parametrize("hue", [1 / 3, -1 / 3])
def test_a_third_of_a_turn_makes_another_colour(hue):
    red = Scene(picture=torch.tensor([200, 40, 40]).byte().view(3, 1, 1))
    channel = coloured(red, hue=hue).picture.flatten().argmax()
    assert channel != 0
