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
    """The things of the pictures of a batch: those of each come first in its row, filling behind them.

    Args:
        boxes: centre and size, as shares of the picture.
        labels: their classes.
        counts: how many each picture has.
    """

    boxes: Float[Tensor, "batch most 4"]
    labels: Int[Tensor, "batch most"]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, boxes: Sequence[Float[Tensor, "_things 4"]], labels: Sequence[Int[Tensor, " _things"]]) -> "Things":
        """The things of these pictures."""
        pad = torch.nn.utils.rnn.pad_sequence
        return cls(
            boxes=pad(list(boxes), batch_first=True, padding_value=0.5),
            labels=pad(list(labels), batch_first=True),
            counts=tuple(len(one) for one in labels),
        )

    @property
    def there(self) -> Bool[Tensor, "batch most"]:
        """Which are things, and no filling."""
        counts = torch.tensor(self.counts, device=self.labels.device)
        return torch.arange(self.labels.shape[1], device=self.labels.device) < counts.unsqueeze(1)

    def repeated(self, times: int) -> "Things":
        """Each thing several times, so that several queries can be responsible for it."""
        boxes = [one[:count].repeat(times, 1) for one, count in zip(self.boxes, self.counts, strict=True)]
        return Things.of(
            boxes, [one[:count].repeat(times) for one, count in zip(self.labels, self.counts, strict=True)]
        )


@dataclass(frozen=True, kw_only=True, eq=False)
class Pairs:
    """Which queries, or cells, are responsible for which things: the picture of each pair, and the places of both."""

    pictures: Places
    queries: Places
    things: Places

    def __len__(self) -> int:
        return len(self.pictures)


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
def matched(found: Found, things: Things, costs: Costs) -> Pairs:
    """One query for each thing, at the least cost in all of a picture (Hungarian)."""
    likely = _of_classes(found.logits, things).sigmoid()
    positive = 0.25 * (1 - likely) ** 2 * -(likely + 1e-8).log()
    negative = 0.75 * likely**2 * -(1 - likely + 1e-8).log()
    boxes, true = found.boxes.unsqueeze(2), things.boxes.unsqueeze(1)
    off = (boxes - true).abs().sum(-1)
    apart = 1.0 - giou(to_corners(boxes), to_corners(true))
    cost = costs.label * (positive - negative) + costs.corners * off + costs.overlap * apart
    whole = cost.cpu().numpy()  # of all pictures: a device is waited for once
    solved = [linear_sum_assignment(one[:, :count]) for one, count in zip(whole, things.counts, strict=True)]
    pictures = [torch.full((len(places),), number) for number, (_, places) in enumerate(solved)]
    queries, places = ([torch.from_numpy(pair[side]) for pair in solved] for side in (0, 1))
    device = cost.device
    return Pairs(
        pictures=torch.cat(pictures).to(device),
        queries=torch.cat(queries).to(device),
        things=torch.cat(places).to(device),
    )


@torch.no_grad()
def assigned(
    cells: Found, centres: Float[Tensor, "cells 2"], things: Things, *, most: int = 9
) -> tuple[Pairs, Float[Tensor, " _pairs"]]:
    """Up to `most` cells for each thing: those whose class and box agree best with it (TOOD: Feng et al. 2021).

    A cell is a candidate for a thing if its centre lies in the thing's box, or is the nearest to its centre; how well
    it agrees is `class * IoU^6`. A cell that is chosen by several things goes to the one whose box it covers best.

    Args:
        cells: what the cells say.
        centres: column and row of the middle of each, as shares of the picture.
        things: of each picture.
        most: cells for a thing.

    Returns:
        Who is responsible, and how much each pair counts: the best cell of a thing its IoU, the others less in
        proportion.
    """
    overlap = iou(to_corners(cells.boxes).unsqueeze(1), to_corners(things.boxes).unsqueeze(2))[0]  # batch things cells
    agree = _of_classes(cells.logits, things).sigmoid().mT * overlap**6
    inside = _candidates(centres, things)
    best = agree.masked_fill(~inside, -1.0).topk(min(most, agree.shape[-1]), dim=-1).indices
    chosen = torch.zeros_like(inside).scatter(-1, best, True) & inside
    if chosen.shape[1]:  # a cell has one thing: the one that it covers best
        owner = overlap.masked_fill(~chosen, -1.0).argmax(1, keepdim=True)
        chosen &= owner == torch.arange(chosen.shape[1], device=owner.device).unsqueeze(1)
    scaled = agree * chosen
    top, covered = scaled.amax(-1, keepdim=True), (overlap * chosen).amax(-1, keepdim=True)
    weights = scaled / top.clamp_min(1e-9) * covered
    pictures, places, cell = chosen.nonzero(as_tuple=True)
    return Pairs(pictures=pictures, queries=cell, things=places), weights[pictures, places, cell]


def _of_classes(logits: Float[Tensor, "batch queries classes"], things: Things) -> Float[Tensor, "batch queries most"]:
    """Each query's logit of each thing's class."""
    labels = things.labels.unsqueeze(1).expand(-1, logits.shape[1], -1)
    return logits.float().gather(2, labels)


def _candidates(centres: Float[Tensor, "cells 2"], things: Things) -> Bool[Tensor, "batch things cells"]:
    corners = to_corners(things.boxes).unsqueeze(2)
    inside = ((centres > corners[..., :2]) & (centres < corners[..., 2:])).all(-1)
    nearest = torch.cdist(things.boxes[..., :2].flatten(0, 1), centres).argmin(1).view(*things.labels.shape, 1)
    return inside.scatter(-1, nearest, True) & things.there.unsqueeze(-1)
