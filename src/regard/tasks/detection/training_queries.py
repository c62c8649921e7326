"""Queries that only training has: known things to be cleaned of noise, and more cells, responsible for things again."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool
from torch import Tensor

from regard.models.boxes import to_centred, to_corners
from regard.models.detector import Detector, Found, Queries
from regard.tasks.detection.targets import Pairs, Things

FLIP = 0.25  # share of the known things that are called by another name
SHIFT = 0.4  # how far a side of a known thing's box moves, at most, as a share of half its size; of a false one more


@dataclass(frozen=True, kw_only=True, eq=False)
class Denoising:
    """Known things under noise, in groups that do not see each other (DN-DETR: Li et al. 2022; contrastive: DINO).

    Of each thing a group has a query near it, which is to find it, and one farther off, which is to say that it is
    nothing.

    Args:
        queries: `groups * 2 * most` of each picture, `most` being the most things that a picture of the batch has.
        pairs: which of them are responsible for which thing.
        sees: which see which, in their group.
        real: which are no filling.
        things: that are found in all groups and pictures together.
    """

    queries: Queries
    pairs: Pairs
    sees: Bool[Tensor, "queries queries"]
    real: Bool[Tensor, "batch queries"]
    things: int


def denoising(model: Detector, things: Things, queries: int) -> Denoising | None:
    """As many groups as `queries` has place for, at least one; none of no queries, or where no picture has a thing.

    Noise is drawn from torch's own random stream.
    """
    most = things.labels.shape[1]
    if not queries or not most:
        return None
    groups = max(1, queries // (2 * most))
    device = things.boxes.device
    far = torch.arange(2, device=device).repeat_interleave(most).repeat(groups)  # near, far, near, far, ...
    boxes = things.boxes.repeat(1, 2 * groups, 1)
    labels, real = things.labels.repeat(1, 2 * groups), things.there.repeat(1, 2 * groups)
    named = torch.randint_like(labels, model.classes)
    labels = torch.where(torch.rand(labels.shape, device=device) < FLIP, named, labels)
    half = (boxes[..., 2:] / 2.0).repeat(1, 1, 2)
    size = torch.rand(boxes.shape, device=device) + far[:, None]
    sign = torch.randint(0, 2, boxes.shape, device=device) * 2.0 - 1.0
    noisy = to_centred((to_corners(boxes) + SHIFT * size * sign * half).clamp(0.0, 1.0))
    pictures, near = (real & (far == 0)).nonzero(as_tuple=True)
    group = torch.arange(len(far), device=device) // (2 * most)
    return Denoising(
        queries=Queries(vectors=model.names(labels), boxes=noisy),
        pairs=Pairs(pictures=pictures, queries=near, things=near % most),
        sees=group[:, None] == group[None],
        real=real,
        things=groups * sum(things.counts),
    )


def together(own: Queries, more: Queries | None, noise: Denoising | None) -> Queries:
    """All queries of a step of training, those that prediction has first: none of the others is seen by them.

    What is cleaned of noise sees its own group alone; the further queries see each other.
    """
    parts = [own, *([] if more is None else [more]), *([] if noise is None else [noise.queries])]
    sizes = [part.vectors.shape[1] for part in parts]
    batch, total = len(own.vectors), sum(sizes)
    sees = torch.zeros(batch, total, total, dtype=torch.bool, device=own.vectors.device)
    start = 0
    for part, size in zip(parts, sizes, strict=True):
        place = slice(start, start + size)
        sees[:, place, place] = noise.sees & noise.real[:, None] if noise and part is noise.queries else True
        start += size
    return Queries(
        vectors=torch.cat([part.vectors for part in parts], 1),
        boxes=torch.cat([part.boxes for part in parts], 1),
        sees=sees,
    )


def parted(found: Found, sizes: Sequence[int]) -> list[Found]:
    """What was found, part by part."""
    return [
        Found(logits=logits, boxes=boxes)
        for logits, boxes in zip(found.logits.split(sizes, 1), found.boxes.split(sizes, 1), strict=True)
    ]
