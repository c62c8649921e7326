"""A picture with what is known of it: a class for each pixel, boxes around things; carried along by what moves it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

IGNORE = 255  # in a mask: a pixel of no known class, which counts nowhere
GREY = 114  # what stands where there is no picture
VISIBLE = 0.25  # of a box's area, below which a cut box is left out


@dataclass(frozen=True, kw_only=True, eq=False)
class Scene:
    """A picture, its mask, and its boxes: left, top, right and bottom, in pixels from the upper left corner."""

    picture: UInt8[Tensor, "3 height width"]
    mask: UInt8[Tensor, "height width"] | None = None
    boxes: Float[Tensor, "things 4"] | None = None
    labels: Int[Tensor, " things"] | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self.picture.shape[-2:]
        return height, width


def flipped(scene: Scene) -> Scene:
    """The scene in a mirror: left is right. Twice it is the scene."""
    boxes = scene.boxes
    if boxes is not None:
        width = scene.size[1]
        boxes = torch.stack((width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]), -1)
    mask = None if scene.mask is None else scene.mask.flip(-1)
    return replace(scene, picture=scene.picture.flip(-1), mask=mask, boxes=boxes)


def turned(scene: Scene, quarters: int) -> Scene:
    """The scene turned to the left by quarters of a circle. Four of them are none."""
    for _ in range(quarters % 4):
        boxes, width = scene.boxes, scene.size[1]
        if boxes is not None:
            left, top, right, bottom = boxes.unbind(-1)
            boxes = torch.stack((top, width - right, bottom, width - left), -1)
        mask = None if scene.mask is None else scene.mask.rot90(1, (0, 1))
        scene = replace(scene, picture=scene.picture.rot90(1, (1, 2)), mask=mask, boxes=boxes)
    return scene


def resized(scene: Scene, height: int, width: int) -> Scene:
    """The scene at another size: the picture smoothed where it shrinks, the mask by its nearest pixels."""
    if (height, width) == scene.size:
        return scene
    picture = functional.interpolate(scene.picture[None], (height, width), mode="bilinear", antialias=True)[0]
    mask, boxes = scene.mask, scene.boxes
    if mask is not None:
        mask = functional.interpolate(mask[None, None], (height, width), mode="nearest-exact")[0, 0]
    if boxes is not None:
        tall, wide = scene.size
        boxes = boxes * boxes.new_tensor((width / wide, height / tall, width / wide, height / tall))
    return replace(scene, picture=picture, mask=mask, boxes=boxes)


def shrunk(scene: Scene, longest: int) -> Scene:
    """The scene, at most `longest` pixels on its longer side."""
    most = max(scene.size)
    if most <= longest:
        return scene
    height, width = (max(1, round(length * longest / most)) for length in scene.size)
    return resized(scene, height, width)


def fitted(scene: Scene, height: int, width: int) -> Scene:
    """The scene at the size at which it just fits into a height and a width, its shape kept."""
    scale = min(height / scene.size[0], width / scene.size[1])
    tall, wide = (max(1, round(length * scale)) for length in scene.size)
    return resized(scene, tall, wide)


def cropped(scene: Scene, top: int, left: int, height: int, width: int) -> Scene:
    """A part of the scene, which may reach beyond it: there the picture is grey and the mask IGNORE.

    Boxes are cut at the edges; one of which less than `VISIBLE` of its area is left goes.
    """
    tall, wide = scene.size
    inner = slice(max(top, 0), max(min(top + height, tall), 0)), slice(max(left, 0), max(min(left + width, wide), 0))
    at = max(-top, 0), max(-left, 0)
    picture = _pasted(scene.picture[:, inner[0], inner[1]], at, (height, width), GREY)
    mask = scene.mask
    if mask is not None:
        mask = _pasted(mask[inner], at, (height, width), IGNORE)
    if scene.boxes is None:
        return replace(scene, picture=picture, mask=mask)
    moved = scene.boxes - scene.boxes.new_tensor((left, top, left, top))
    cut = torch.stack((moved[:, 0::2].clamp(0, width), moved[:, 1::2].clamp(0, height)), -1).flatten(1)
    whole, rest = _areas(moved), _areas(cut)
    stays = (rest > 0) & (rest >= VISIBLE * whole)
    labels = None if scene.labels is None else scene.labels[stays]
    return replace(scene, picture=picture, mask=mask, boxes=cut[stays], labels=labels)


def tiled(scenes: Sequence[Scene], height: int, width: int, row: int, column: int) -> Scene:
    """A mosaic (Bochkovskiy et al. 2020): four scenes around the point (row, column), each cut to its quarter.

    Args:
        scenes: upper left, upper right, lower left, lower right. Each lies with a corner at the point.
        height, width: of the mosaic.
        row, column: where the four meet, inside it.
    """
    parts = []
    for number, scene in enumerate(scenes):
        low, right = divmod(number, 2)
        tall, wide = (height - row if low else row), (width - column if right else column)
        own_tall, own_wide = scene.size
        parts.append(cropped(scene, 0 if low else own_tall - tall, 0 if right else own_wide - wide, tall, wide))
    picture = _four([part.picture for part in parts])
    masks = [part.mask for part in parts if part.mask is not None]
    boxes, labels = None, None
    if parts[0].boxes is not None:
        corners = ((0, 0), (0, column), (row, 0), (row, column))
        shifted = [
            part.boxes + part.boxes.new_tensor((left, top, left, top))
            for part, (top, left) in zip(parts, corners, strict=True)
            if part.boxes is not None
        ]
        boxes, labels = torch.cat(shifted), torch.cat([part.labels for part in parts if part.labels is not None])
    return Scene(picture=picture, mask=_four(masks) if masks else None, boxes=boxes, labels=labels)


def coloured(
    scene: Scene, *, brightness: float = 1.0, contrast: float = 1.0, saturation: float = 1.0, hue: float = 0.0
) -> Scene:
    """The scene in another light: all four changes are one linear map of colours.

    Args:
        scene: the scene.
        brightness: a factor for all values.
        contrast: a factor for the distance from the picture's mean grey.
        saturation: a factor for the distance of a colour from its grey.
        hue: a turn of the colours around grey, in turns: 1 changes nothing.
    """
    values = scene.picture.flatten(1).float()
    grey = values.new_tensor((0.299, 0.587, 0.114))
    # From RGB to luma and two chroma axes (YIQ, NTSC 1953), where saturation scales and hue turns the last two.
    to_yiq = torch.stack((grey, grey.new_tensor((0.596, -0.274, -0.322)), grey.new_tensor((0.211, -0.523, 0.312))))
    angle = grey.new_tensor(2.0 * torch.pi * hue)
    turn = torch.eye(3)
    turn[1:, 1:] = saturation * torch.stack(
        (torch.stack((angle.cos(), -angle.sin())), torch.stack((angle.sin(), angle.cos())))
    )
    matrix = torch.linalg.inv(to_yiq) @ turn @ to_yiq * (brightness * contrast)
    mean = brightness * (1.0 - contrast) * (grey @ values).mean()
    changed = (matrix @ values + mean).round().clamp(0, 255).byte()
    return replace(scene, picture=changed.view_as(scene.picture))


def _pasted(part: Tensor, at: tuple[int, int], size: tuple[int, int], fill: int) -> Tensor:
    """The part on a plane of `size` filled with one value, its corner `at` a place."""
    if part.shape[-2:] == size:
        return part.clone()
    plane = part.new_full((*part.shape[:-2], *size), fill)
    tall, wide = part.shape[-2:]
    plane[..., at[0] : at[0] + tall, at[1] : at[1] + wide] = part
    return plane


def _four(parts: Sequence[Tensor]) -> Tensor:
    """Upper left, upper right, lower left and lower right as one."""
    return torch.cat((torch.cat(tuple(parts[:2]), -1), torch.cat(tuple(parts[2:]), -1)), -2)


def _areas(boxes: Float[Tensor, "things 4"]) -> Float[Tensor, " things"]:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
