"""Boxes drawn on their pictures, and sheets of them, as a person looks at them."""

from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from regard.data.pictures import to_png, to_tensor
from regard.data.scene import Scene, shrunk
from regard.tasks.colours import colours
from regard.tasks.detection.metrics import Detected

_WIDEST = 420  # pixels of a picture on a sheet
_GAP = 4  # between the pictures of a sheet

Picture = UInt8[Tensor, "3 _height _width"]


def drawn(picture: Picture, found: Detected, classes: Sequence[str], *, least: float = 0.0) -> Picture:
    """The picture with every box that is at least so sure, in the colour of its class, its name and how sure."""
    height, width = picture.shape[-2:]
    image = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    pen, table = ImageDraw.Draw(image), colours(len(classes))
    thick = max(1, round(max(height, width) / 300))
    font = ImageFont.load_default(max(10, round(max(height, width) / 45)))
    order = found.scores.argsort().tolist()  # the surest on top
    for place in order:
        score, label = float(found.scores[place]), int(found.labels[place])
        if score < least:
            continue
        left, top, right, bottom = found.boxes[place].tolist()
        colour = tuple(table[label].tolist())
        pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=thick)
        name = classes[label] if score >= 1.0 else f"{classes[label]} {score:.2f}"
        wide, high = (int(size) + 3 for size in pen.textbbox((0, 0), name, font=font)[2:])
        x, y = max(0, min(int(left), width - wide)), max(0, min(int(top), height - high))  # where all of it is seen
        pen.rectangle((x, y, x + wide, y + high), fill=colour)
        pen.text((x + 2, y), name, fill="white" if sum(colour) < 400 else "black", font=font)
    return to_tensor(image)


def sheet(rows: Sequence[tuple[Scene, Detected]], classes: Sequence[str], least: float) -> bytes:
    """Pictures with the boxes that are true, and with those that were found, a row each, as PNG."""
    lines = []
    for scene, found in rows:
        assert scene.boxes is not None
        assert scene.labels is not None
        true = Detected(boxes=scene.boxes, scores=torch.ones(len(scene.labels)), labels=scene.labels)
        pair = drawn(scene.picture, true, classes), drawn(scene.picture, found, classes, least=least)
        small = [shrunk(Scene(picture=one), _WIDEST).picture for one in pair]
        lines.append(torch.cat([torch.nn.functional.pad(one, (0, _GAP, 0, _GAP), value=255) for one in small], -1))
    width = max(line.shape[-1] for line in lines)
    padded = [torch.nn.functional.pad(line, (0, width - line.shape[-1]), value=255) for line in lines]
    return to_png(torch.cat(padded, -2))
