"""The losses of a detector: of the classes and of the boxes of what is responsible for things."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from regard.models.boxes import giou, iou, to_corners
from regard.models.detector import Found
from regard.tasks.detection.recipe import Weights
from regard.tasks.detection.targets import Pairs, Things

GAMMA = 1.5  # of the loss of classes


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
    """Cross-entropy with `quality^gamma`, whole for all classes of what is responsible for something; `p^gamma` of it
    for what is not.

    Near the matchability-aware loss (DEIM: Huang et al. 2025): unlike the varifocal one it weighs no responsible query
    by its quality, so that classes are learned while boxes are still bad. And here what a thing is not counts as much
    as what it is, where DEIM weighs that by `p^gamma` too, next to nothing while nothing is believed yet.
    """
    logits = logits.float()
    responsible = (quality > 0).any(-1, keepdim=True)
    weight = torch.where(responsible, 1.0, logits.detach().sigmoid() ** GAMMA)
    return functional.binary_cross_entropy_with_logits(logits, quality**GAMMA, weight=weight, reduction="sum")


def _paired(found: Found, things: Things, pairs: Pairs) -> tuple[Float[Tensor, "pairs 4"], Float[Tensor, "pairs 4"]]:
    """The boxes of responsible queries, and those of their things."""
    return found.boxes[pairs.pictures, pairs.queries].float(), things.boxes[pairs.pictures, pairs.things]
