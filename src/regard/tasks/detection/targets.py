"""What is true of pictures, and which of what was found is responsible for it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from regard.models.boxes import giou, iou, to_corners
from regard.models.detector import Found

Places = Int[Tensor, " _pairs"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Things:
    """The things of one picture: their boxes (centre and size, as shares of the picture) and classes."""

    boxes: Float[Tensor, "things 4"]
    labels: Int[Tensor, " things"]

    def __len__(self) -> int:
        return len(self.labels)

    def repeated(self, times: int) -> "Things":
        """Each thing several times, so that several queries can be responsible for it."""
        return Things(boxes=self.boxes.repeat(times, 1), labels=self.labels.repeat(times))


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What it costs to make a query responsible for a thing (Carion et al. 2020; focal: Zhu et al. 2021).

    Args:
        label: how unsure the query is of the thing's class.
        corners: the sum of differences of the four numbers of boxes.
        overlap: 1 - the generalised intersection over union.
    """

    label: float = 2.0
    corners: float = 5.0
    overlap: float = 2.0


@torch.no_grad()
def matched(found: Found, things: Sequence[Things], costs: Costs) -> list[tuple[Places, Places]]:
    """One query for each thing, at the least cost in all: the places of both, picture by picture (Hungarian)."""
    pairs = []
    for logits, boxes, true in zip(found.logits.float(), found.boxes, things, strict=True):
        likely = logits[:, true.labels].sigmoid()
        positive = 0.25 * (1 - likely) ** 2 * -(likely + 1e-8).log()
        negative = 0.75 * likely**2 * -(1 - likely + 1e-8).log()
        off = (boxes[:, None] - true.boxes[None]).abs().sum(-1)
        apart = 1.0 - giou(to_corners(boxes)[:, None], to_corners(true.boxes)[None])
        cost = costs.label * (positive - negative) + costs.corners * off + costs.overlap * apart
        queries, places = linear_sum_assignment(cost.cpu().numpy())
        pairs.append((torch.as_tensor(queries, device=boxes.device), torch.as_tensor(places, device=boxes.device)))
    return pairs


@dataclass(frozen=True, kw_only=True, eq=False)
class Assigned:
    """Which cells of one picture are responsible for which thing, and how much each counts (0 to 1)."""

    cells: Places
    things: Places
    weights: Float[Tensor, " _pairs"]


@torch.no_grad()
def assigned(
    cells: Found, centres: Float[Tensor, "cells 2"], things: Sequence[Things], *, most: int = 9
) -> list[Assigned]:
    """Up to `most` cells for each thing: those whose class and box agree best with it (TOOD: Feng et al. 2021).

    A cell is a candidate for a thing if its centre lies in the thing's box, or is the nearest to its centre; how well
    it agrees is `class * IoU^6`. A cell that is chosen by several things goes to the one whose box it covers best. The
    weight of the best cell of a thing is its IoU, those of the others are less in proportion.

    Args:
        cells: what the cells say.
        centres: column and row of the middle of each, as shares of the picture.
        things: of each picture.
        most: cells for a thing.
    """
    found = []
    for logits, boxes, true in zip(cells.logits.float(), cells.boxes, things, strict=True):
        if not len(true):
            empty = true.labels.new_zeros(0)
            found.append(Assigned(cells=empty, things=empty, weights=true.boxes.new_zeros(0)))
            continue
        corners = to_corners(true.boxes)
        overlap = iou(to_corners(boxes)[None], corners[:, None])[0]  # things cells
        agree = logits.sigmoid()[:, true.labels].T * overlap**6
        inside = _candidates(centres, true.boxes)
        best = agree.masked_fill(~inside, -1.0).topk(min(most, agree.shape[1]), dim=1).indices
        chosen = torch.zeros_like(inside).scatter(1, best, True) & inside
        # A cell has one thing: the one that it covers best.
        owner = overlap.masked_fill(~chosen, -1.0).argmax(0)
        chosen &= owner == torch.arange(len(true), device=owner.device).unsqueeze(1)
        scaled = agree * chosen
        top, covered = scaled.amax(1, keepdim=True), (overlap * chosen).amax(1, keepdim=True)
        weights = scaled / top.clamp_min(1e-9) * covered
        places, cell = chosen.nonzero(as_tuple=True)
        found.append(Assigned(cells=cell, things=places, weights=weights[places, cell]))
    return found


def _candidates(centres: Float[Tensor, "cells 2"], boxes: Float[Tensor, "things 4"]) -> Bool[Tensor, "things cells"]:
    corners = to_corners(boxes)
    inside = ((centres > corners[:, None, :2]) & (centres < corners[:, None, 2:])).all(-1)
    nearest = torch.cdist(boxes[:, :2], centres).argmin(1, keepdim=True)
    return inside.scatter(1, nearest, True)
