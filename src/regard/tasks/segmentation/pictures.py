"""Masks laid over their pictures, and sheets of them, as a person looks at them."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from regard.data.pictures import to_png, to_tensor
from regard.data.scene import IGNORE
from regard.tasks.colours import colours

OPACITY = 0.55  # of a class's colour
_LINE = 18  # pixels of a legend's line
_GAP = 4  # between the pictures of a sheet
_WIDEST = 360  # pixels of a picture on a sheet

Picture = UInt8[Tensor, "3 _height _width"]
Mask = UInt8[Tensor, "_height _width"]


def overlay(picture: Picture, mask: Mask, classes: Sequence[str]) -> Picture:
    """The picture under the colours of its classes, their borders drawn, and under it their names."""
    return _with_legend(_laid(picture, mask, len(classes)), mask, classes)


def sheet(rows: Sequence[tuple[Picture, Mask, Mask]], classes: Sequence[str]) -> bytes:
    """Pictures, what is true of them and what was found, a row each, as PNG."""
    drawn = []
    for picture, true, found in rows:
        # Where nothing is known it does not count what was found.
        found = torch.where(true == IGNORE, true, found)
        row = [_shrunk(each) for each in (picture, *(_laid(picture, one, len(classes)) for one in (true, found)))]
        drawn.append(torch.cat(row, -1))
    width = max(row.shape[-1] for row in drawn)
    padded = [torch.nn.functional.pad(row, (0, width - row.shape[-1], 0, _GAP), value=255) for row in drawn]
    shown = torch.cat([mask.flatten() for _, true, found in rows for mask in (true, found)])
    return to_png(_with_legend(torch.cat(padded, -2), shown, classes))


def _laid(picture: Picture, mask: Mask, classes: int) -> Picture:
    tinted = colours(classes)[mask.long()].permute(2, 0, 1).float()
    weight = torch.where(mask == IGNORE, 0.5, OPACITY)
    mixed = picture * (1.0 - weight) + tinted * weight
    border = torch.zeros_like(mask, dtype=torch.bool)
    border[:, 1:] |= mask[:, 1:] != mask[:, :-1]
    border[1:] |= mask[1:] != mask[:-1]
    return torch.where(border, 255.0, mixed).round().byte()


def _shrunk(picture: Picture) -> Picture:
    """At most as wide as a sheet has place for, with a gap on its right."""
    height, width = picture.shape[-2:]
    if width > _WIDEST:
        size = max(1, round(height * _WIDEST / width)), _WIDEST
        picture = torch.nn.functional.interpolate(picture[None], size, mode="bilinear", antialias=True)[0]
    return torch.nn.functional.pad(picture, (0, _GAP), value=255)


def _with_legend(picture: Picture, mask: Tensor, classes: Sequence[str]) -> Picture:
    """A line of names under a picture, in as many rows as they need: of the classes that the mask has."""
    table, font = colours(len(classes)), ImageFont.load_default(12)
    present = [number for number in mask.unique().tolist() if number < len(classes)]
    width, places = picture.shape[-1], []
    left = top = _GAP
    for number in present:
        wide = _LINE + round(font.getlength(classes[number])) + 3 * _GAP
        if left > _GAP and left + wide > width:
            left, top = _GAP, top + _LINE
        places.append((left, top, number))
        left += wide
    strip = Image.new("RGB", (width, top + _LINE), "white")
    draw = ImageDraw.Draw(strip)
    for left, top, number in places:
        colour = tuple(table[number].tolist())
        draw.rectangle((left, top + 2, left + _LINE - 6, top + _LINE - 4), fill=colour)
        draw.text((left + _LINE - 2, top), classes[number], fill="black", font=font)
    return torch.cat((picture, to_tensor(strip)), -2)
