"""The losses of a detector: of the classes and of the boxes of what is responsible for things."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from regard.models.boxes import giou, iou, to_corners
from regard.models.detector import Found
from regard.tasks.detection.targets import Pairs, Things

GAMMA = 1.5  # of the loss of classes


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much each part of the loss counts (RT-DETR: Zhao et al. 2024)."""

    label: float = 1.0
    corners: float = 5.0
    overlap: float = 2.0


def of_queries(found: Found, things: Things, pairs: Pairs, weights: Weights, count: int) -> Float[Tensor, ""]:
    """The loss of queries of which some are responsible for things, for each of `count` things.

    The class of a responsible query is to be as sure as its box is right, that of all others to be sure of nothing.
    """
    quality = torch.zeros_like(found.logits, dtype=torch.float32)
    boxes, true = _paired(found, things, pairs)
    overlap = iou(to_corners(boxes.detach()), to_corners(true))[0]
    quality[pairs.pictures, pairs.queries, things.labels[pairs.pictures, pairs.things]] = overlap
    loss = weights.label * of_classes(found.logits, quality)
    loss = loss + weights.corners * (boxes - true).abs().sum()
    loss = loss + weights.overlap * (1.0 - giou(to_corners(boxes), to_corners(true))).sum()
    return loss / count


def of_cells(
    cells: Found, things: Things, pairs: Pairs, counts: Float[Tensor, " pairs"], weights: Weights
) -> Float[Tensor, ""]:
    """The loss of the cells, of which each pair counts so much, for each unit of what is counted."""
    quality = torch.zeros_like(cells.logits, dtype=torch.float32)
    quality[pairs.pictures, pairs.queries, things.labels[pairs.pictures, pairs.things]] = counts
    boxes, true = _paired(cells, things, pairs)
    total = counts.sum().clamp_min(1.0)
    loss = weights.label * of_classes(cells.logits, quality)
    loss = loss + weights.corners * ((boxes - true).abs().sum(-1) * counts).sum()
    loss = loss + weights.overlap * ((1.0 - giou(to_corners(boxes), to_corners(true))) * counts).sum()
    return loss / total


def of_classes(logits: Tensor, quality: Tensor) -> Float[Tensor, ""]:
    """Cross-entropy with `quality^gamma` where that is more than 0; elsewhere `p^gamma` of that with 0.

    The matchability-aware loss (DEIM: Huang et al. 2025): unlike the varifocal one it weighs no responsible query by
    its quality, so that classes are learned while boxes are still bad.
    """
    logits = logits.float()
    weight = torch.where(quality > 0, 1.0, logits.detach().sigmoid() ** GAMMA)
    return functional.binary_cross_entropy_with_logits(logits, quality**GAMMA, weight=weight, reduction="sum")


def _paired(found: Found, things: Things, pairs: Pairs) -> tuple[Float[Tensor, "pairs 4"], Float[Tensor, "pairs 4"]]:
    """The boxes of responsible queries, and those of their things."""
    return found.boxes[pairs.pictures, pairs.queries].float(), things.boxes[pairs.pictures, pairs.things]
