"""Boxes: two ways to write them, how far they agree, and the vector of a box's place."""

import torch
from jaxtyping import Float
from torch import Tensor

Corners = Float[Tensor, "*#boxes 4"]  # left, top, right, bottom
Centred = Float[Tensor, "*boxes 4"]  # column and row of the centre, width, height


def to_corners(boxes: Centred) -> Corners:
    """Left, top, right and bottom of boxes that are given by their centre and size."""
    centre, size = boxes[..., :2], boxes[..., 2:]
    return torch.cat((centre - size / 2, centre + size / 2), -1)


def to_centred(boxes: Corners) -> Centred:
    """Centre and size of boxes that are given by their corners."""
    low, high = boxes[..., :2], boxes[..., 2:]
    return torch.cat(((low + high) / 2, high - low), -1)


def iou(one: Corners, other: Corners) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
    """Intersection over union of pairs of boxes, and their unions; shapes broadcast."""
    low, high = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    both = (high - low).clamp_min(0.0).prod(-1)
    union = _area(one) + _area(other) - both
    return both / union.clamp_min(1e-9), union


def giou(one: Corners, other: Corners) -> Float[Tensor, "..."]:
    """Generalised intersection over union, -1 to 1: `IoU - (hull - union) / hull` (Rezatofighi et al. 2019)."""
    overlap, union = iou(one, other)
    low, high = torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:])
    hull = (high - low).prod(-1).clamp_min(1e-9)
    return overlap - (hull - union) / hull


def inverse_sigmoid(share: Tensor) -> Tensor:
    """The logit of a share, which is kept from 0 and 1."""
    share = share.clamp(1e-4, 1.0 - 1e-4)
    return (share / (1.0 - share)).log()


def sinusoids(boxes: Centred, dim: int) -> Float[Tensor, "*boxes dim"]:
    """A vector of each box: sines and cosines of its four numbers, a quarter of the features each (DAB-DETR)."""
    if dim % 8:
        raise ValueError(f"sinusoids of four numbers are pairs, so dim must be a multiple of 8, got {dim}")
    exponent = torch.arange(0, dim // 4, 2, device=boxes.device, dtype=boxes.dtype) / (dim // 4)
    angle = boxes.unsqueeze(-1) * 2.0 * torch.pi * 10000.0**-exponent * 10.0
    return torch.cat((angle.sin(), angle.cos()), -1).flatten(-2)


def _area(boxes: Corners) -> Float[Tensor, "*boxes"]:
    return (boxes[..., 2:] - boxes[..., :2]).clamp_min(0.0).prod(-1)
