"""Masks: the number of a class for each pixel, read from the forms that people have."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy
import torch
from jaxtyping import Bool, UInt8
from numpy.typing import NDArray
from torch import Tensor

from regard.data.files import listed
from regard.data.pictures import opened
from regard.data.scene import IGNORE

Colour = tuple[int, int, int]
_SHOWN = 4  # colours that an error names


def read_mask(path: str | Path, colours: Mapping[Colour, int] | None = None) -> UInt8[Tensor, "height width"]:
    """The mask of a file: a picture of numbers (grey, or with a palette), or of colours.

    Args:
        path: a PNG or another format without loss.
        colours: the number of each colour, for a mask in RGB; if all of them are greys, for a grey one too.

    Raises:
        ValueError: what `opened` raises; a colour without a number; numbers above 255.
    """
    picture = opened(path)
    greys = colours is not None and all(red == green == blue for red, green, blue in colours)
    if picture.mode in ("L", "P", "1") and not greys:
        return torch.from_numpy(numpy.array(picture)).byte()
    if picture.mode.startswith("I"):
        numbers = numpy.asarray(picture)
        if numbers.max(initial=0) > IGNORE:
            raise ValueError(f"{path} has the number {numbers.max()}: the classes of a mask are 0 to {IGNORE - 1}")
        return torch.from_numpy(numbers.astype(numpy.uint8))
    if colours is None:
        raise ValueError(
            f"{path} is a mask in colours ({picture.mode}), and which class a colour stands for is not known: name "
            "the classes with their colours, red, green and blue, such as --files.classes '[\"road 128 64 128\"]', "
            "or a line each in classes.txt beside the data"
        )
    return _of_colours(numpy.array(picture.convert("RGB")), colours, path)


def _of_colours(
    pixels: NDArray[numpy.uint8], colours: Mapping[Colour, int], path: str | Path
) -> UInt8[Tensor, "height width"]:
    """Each colour's number."""
    packed = pixels.astype(numpy.int32) @ numpy.array([65536, 256, 1], dtype=numpy.int32)
    found, places = numpy.unique(packed, return_inverse=True)
    numbers = {red * 65536 + green * 256 + blue: number for (red, green, blue), number in colours.items()}
    unknown = [int(colour) for colour in found if int(colour) not in numbers]
    if unknown:
        named = [f"({colour >> 16}, {colour >> 8 & 255}, {colour & 255})" for colour in unknown]
        count = int(numpy.isin(packed, unknown).sum())
        raise ValueError(
            f"{path} has {count:,} pixels of colours that no class has: {listed(named, _SHOWN)}. Give those colours to "
            "classes, or save the mask without loss (PNG, not JPEG)"
        )
    table = numpy.array([numbers[int(colour)] for colour in found], dtype=numpy.uint8)
    return torch.from_numpy(table[places].reshape(packed.shape))


def outlined(polygons: Sequence[Sequence[int | float]], height: int, width: int) -> Bool[Tensor, "height width"]:
    """The pixels whose centres polygons enclose, each a list x, y, x, y, ... in pixels from the corner (COCO)."""
    inside = torch.zeros(height, width, dtype=torch.bool)
    for polygon in polygons:
        corners = torch.tensor(polygon, dtype=torch.float64).view(-1, 2) - 0.5
        # Along a row, each edge that is crossed on the way from the left turns outside into inside, or back.
        first, last = corners, corners.roll(-1, 0)
        low, high = (
            y.clamp(0, height).ceil().long() for y in (first[:, 1].minimum(last[:, 1]), first[:, 1].maximum(last[:, 1]))
        )
        edge = torch.arange(len(corners)).repeat_interleave(high - low)
        row = torch.arange(len(edge)) - (high - low).cumsum(0).repeat_interleave(high - low) + high[edge]
        slope = (last[edge, 0] - first[edge, 0]) / (last[edge, 1] - first[edge, 1])
        column = (first[edge, 0] + slope * (row - first[edge, 1])).clamp(0, width).ceil().long()
        crossed = torch.zeros(height, width + 1, dtype=torch.long)
        crossed.index_put_((row, column), torch.ones_like(row), accumulate=True)
        inside |= crossed.cumsum(1)[:, :width] % 2 == 1
    return inside


def run_lengths(counts: str | Sequence[int], height: int, width: int) -> Bool[Tensor, "height width"]:
    """The mask of COCO's run-length code: how many pixels are outside, inside, outside, ..., column by column.

    Args:
        counts: the numbers, or their compressed text: of each number (from the fourth on its difference to the one
            before the last) five bits a letter, the lowest first.
        height, width: of the mask.

    Raises:
        ValueError: the counts are not `height * width` pixels.
    """
    numbers = _decompressed(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if sum(numbers) != height * width or min(numbers, default=0) < 0:
        raise ValueError(f"its run lengths are {sum(numbers)} pixels, and {width} x {height} are {height * width}")
    inside = torch.arange(len(numbers)) % 2 == 1
    return inside.repeat_interleave(torch.tensor(numbers)).view(width, height).T.contiguous()


def _decompressed(text: str) -> list[int]:
    numbers: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:  # more letters of this number follow
            continue
        if bits & 16:  # the sign
            value -= 1 << shift
        numbers.append(value + (numbers[-2] if len(numbers) > 2 else 0))
        value = shift = 0
    return numbers
