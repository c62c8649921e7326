"""Masks in every form that people have."""

import numpy
import pytest
import torch
from PIL import Image

from regard.data.masks import outlined, read_mask, run_lengths

NUMBERS = numpy.array([[0, 1, 2], [255, 4, 0]], dtype=numpy.uint8)
COLOURS = {(10, 20, 30): 0, (200, 0, 0): 1, (0, 0, 0): 255}


def test_numbers_are_read_in_grey_with_a_palette_and_in_sixteen_bits(tmp_path):
    palette = Image.fromarray(NUMBERS, "P")
    palette.putpalette([value for number in range(256) for value in (number, 255 - number, 7)])
    wide = Image.fromarray(NUMBERS.astype(numpy.uint16))
    for number, image in enumerate((Image.fromarray(NUMBERS), palette, wide)):
        image.save(tmp_path / f"{number}.png")
        assert read_mask(tmp_path / f"{number}.png").tolist() == NUMBERS.tolist()
    two = Image.fromarray(NUMBERS % 2 * 255).convert("1")
    two.save(tmp_path / "two.png")
    assert read_mask(tmp_path / "two.png").tolist() == [[0, 1, 0], [1, 0, 0]]


def test_colours_are_read_by_their_table(tmp_path):
    pixels = numpy.array([[(10, 20, 30), (200, 0, 0)], [(0, 0, 0), (200, 0, 0)]], dtype=numpy.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png", COLOURS).tolist() == [[0, 1], [255, 1]]
    with pytest.raises(
        ValueError, match=r"a\.png is a mask in colours \(RGB\).*--files\.classes '\[\"road 128 64 128\"\]'"
    ):
        read_mask(tmp_path / "a.png")
    pixels[0, 0] = (1, 2, 3)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    with pytest.raises(ValueError, match=r"b\.png has 1 pixels of colours that no class has: \(1, 2, 3\)\. Give"):
        read_mask(tmp_path / "b.png", COLOURS)


def test_black_and_white_are_classes_where_they_are_said_to_be(tmp_path):
    Image.fromarray(numpy.array([[0, 255]], dtype=numpy.uint8)).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png").tolist() == [[0, 255]]
    assert read_mask(tmp_path / "a.png", {(0, 0, 0): 0, (255, 255, 255): 1}).tolist() == [[0, 1]]
    assert read_mask(tmp_path / "a.png", COLOURS).tolist() == [[0, 255]], "colours say nothing about greys"


def test_numbers_that_do_not_fit_are_named(tmp_path):
    Image.fromarray(numpy.array([[0, 300]], dtype=numpy.uint16)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a\.png has the number 300: the classes of a mask are 0 to 254"):
        read_mask(tmp_path / "a.png")


def test_run_lengths_go_down_the_columns():
    expected = torch.tensor([[0, 0, 1], [0, 1, 1], [1, 1, 0]]).bool()
    assert torch.equal(run_lengths([2, 1, 1, 4, 1], 3, 3), expected)
    # The same as COCO compresses it: five bits a letter from "0" on, from the fourth number on the difference to the
    # one before the last: 2, 1, 1, 4 - 1, 1 - 1.
    assert torch.equal(run_lengths("21130", 3, 3), expected)
    assert torch.equal(run_lengths([9], 3, 3), torch.zeros(3, 3, dtype=torch.bool))


def compressed(numbers: list[int]) -> str:
    """COCO's code, as its definition says."""
    letters = ""
    for place, number in enumerate(numbers):
        value = number - (numbers[place - 2] if place > 2 else 0)
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            letters += chr((bits | 32 if more else bits) + 48)
    return letters


@pytest.mark.parametrize("seed", range(5))
def test_compressed_run_lengths_are_the_run_lengths(seed):
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randint(1, 4000, (11,), generator=generator).tolist()
    width = 1
    height = sum(numbers)
    assert torch.equal(run_lengths(compressed(numbers), height, width), run_lengths(numbers, height, width))


def test_run_lengths_of_another_size_are_named():
    with pytest.raises(ValueError, match="its run lengths are 8 pixels, and 3 x 3 are 9"):
        run_lengths([2, 6], 3, 3)


def test_what_a_polygon_encloses():
    inside = outlined([[2, 1, 6, 1, 6, 4, 2, 4]], 5, 8)
    expected = torch.zeros(5, 8, dtype=torch.bool)
    expected[1:4, 2:6] = True
    assert torch.equal(inside, expected)
    both = outlined([[0, 0, 1, 0, 1, 1, 0, 1], [2, 1, 6, 1, 6, 4, 2, 4]], 5, 8)
    expected[0, 0] = True
    assert torch.equal(both, expected)


@pytest.mark.parametrize("seed", range(4))
def test_a_polygon_encloses_what_lies_left_of_an_odd_number_of_its_edges(seed):
    corners = torch.rand(7, 2, generator=torch.Generator().manual_seed(seed)) * 40 - 10
    inside = outlined([corners.flatten().tolist()], 19, 23)
    for row in range(19):
        for column in range(23):
            x, y = column + 0.5, row + 0.5
            odd = False
            for (ax, ay), (bx, by) in zip(corners.tolist(), corners.roll(-1, 0).tolist(), strict=True):
                if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
                    odd = not odd
            assert bool(inside[row, column]) == odd
