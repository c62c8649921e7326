"""The metrics of segmentation: intersection over union, pixel accuracy, and how well boundaries lie."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from regard.data.scene import IGNORE
from regard.tasks.evaluation import Score

TOLERANCE = 0.0075  # of a picture's diagonal: how far a boundary may lie off (Csurka et al. 2013)
Mask = UInt8[Tensor, "height width"]
Confusion = Int[Tensor, "true found"]


def confusion(found: Mask, true: Mask, classes: int) -> Confusion:
    """How many pixels of each class were found to be of each; those of no known class are left out."""
    known = true != IGNORE
    pairs = true[known].long() * classes + found[known].long()
    return torch.bincount(pairs, minlength=classes * classes).view(classes, classes)


def ious(counts: Confusion) -> Float[Tensor, " classes"]:
    """Intersection over union of each class, in percent; NaN for one that neither occurs nor was found."""
    both = counts.diagonal().double()
    return 100.0 * both / (counts.sum(0) + counts.sum(1) - both)


def mean_iou(counts: Confusion) -> float:
    """The mean over the classes that occur or were found, in percent."""
    return float(ious(counts).nanmean())


def pixel_accuracy(counts: Confusion) -> float:
    """The percentage of pixels whose class is right."""
    return 100.0 * float(counts.diagonal().sum() / counts.sum().clamp_min(1))


class BoundaryF:
    """The F measure of boundaries, class by class, the mean over pictures (Csurka et al. 2013).

    Precision is the share of a found boundary that lies near the true one, recall the other way round; near is within
    `TOLERANCE` of the diagonal. A class counts in the pictures where it occurs or was found.
    """

    def __init__(self, classes: int) -> None:
        self.sums = torch.zeros(classes, dtype=torch.float64)
        self.counts = torch.zeros(classes, dtype=torch.long)

    def add(self, found: Mask, true: Mask) -> None:
        """Count a picture."""
        classes = torch.arange(len(self.sums), device=true.device).view(-1, 1, 1)
        known = true != IGNORE
        masks = torch.stack((found == classes, true == classes)) & known
        reach = max(1, round(TOLERANCE * sum(length**2 for length in true.shape) ** 0.5))
        edges = _boundary(masks, known)
        one, other = edges
        near_one, near_other = _near(edges, reach)
        precision = (one & near_other).sum((1, 2)) / one.sum((1, 2)).clamp_min(1)
        recall = (other & near_one).sum((1, 2)) / other.sum((1, 2)).clamp_min(1)
        measure = 2 * precision * recall / (precision + recall).clamp_min(1e-12)
        there = edges.any(0).flatten(1).any(1)
        self.sums += torch.where(there, measure, 0.0).double().cpu()
        self.counts += there.cpu()

    def by_class(self) -> Float[Tensor, " classes"]:
        """In percent; NaN for a class without a boundary."""
        return 100.0 * self.sums / self.counts

    def mean(self) -> float:
        """The mean over classes, in percent."""
        return float(self.by_class().nanmean())


def _boundary(
    masks: Bool[Tensor, "two classes height width"], known: Bool[Tensor, "height width"]
) -> Bool[Tensor, "two classes height width"]:
    """The pixels of a mask that touch, up, down, left or right, a known pixel of the picture outside of it."""
    padded = functional.pad((masks | ~known).float(), (1, 1, 1, 1), mode="replicate")
    middle = slice(1, -1)
    least = torch.stack(
        (
            padded[..., :-2, middle],
            padded[..., 2:, middle],
            padded[..., middle, :-2],
            padded[..., middle, 2:],
        )
    ).amin(0)
    return masks & (least == 0)


def _near(edges: Bool[Tensor, "two classes height width"], reach: int) -> Bool[Tensor, "two classes height width"]:
    """The pixels at most `reach` from an edge."""
    across = torch.arange(-reach, reach + 1, device=edges.device)
    disk = (across.view(-1, 1) ** 2 + across**2 <= reach**2).float()
    planes = edges.flatten(0, 1).unsqueeze(1).float()
    return (functional.conv2d(planes, disk[None, None], padding=reach) > 0.5).squeeze(1).view_as(edges)


def scores(counts: Confusion, boundary: BoundaryF, pictures: int) -> list[Score]:
    """What results are published in."""
    found = ious(counts)
    counted = int((~found.isnan()).sum())
    accuracies = 100.0 * counts.diagonal() / counts.sum(1)
    of_all = f"{int(counts.sum()):,} pixels of {pictures} pictures, in %"
    return [
        Score(name="mIoU", value=mean_iou(counts), signature=f"mean of {counted} classes, over {of_all}"),
        Score(name="pixel accuracy", value=pixel_accuracy(counts), signature=f"over {of_all}"),
        Score(name="class accuracy", value=float(accuracies.nanmean()), signature="recall, the mean of classes, in %"),
        Score(
            name="boundary F",
            value=boundary.mean(),
            signature=f"within {100 * TOLERANCE}% of the diagonal, mean over pictures, then classes, in %",
        ),
    ]


def table(counts: Confusion, boundary: BoundaryF, classes: Sequence[str]) -> str:
    """Every class: its IoU, precision, recall, boundary F, and its share of the pixels."""
    wide = max(len("class"), *(len(name) for name in classes))
    both = counts.diagonal().double()
    rows = zip(
        classes,
        ious(counts).tolist(),
        (100.0 * both / counts.sum(0)).tolist(),
        (100.0 * both / counts.sum(1)).tolist(),
        boundary.by_class().tolist(),
        (100.0 * counts.sum(1) / counts.sum().clamp_min(1)).tolist(),
        strict=True,
    )
    lines = [f"{'class':<{wide}}     IoU  precision  recall  boundary F   pixels"]
    for name, iou, precision, recall, edge, share in rows:
        shown = f"{iou:8.2f}  {precision:9.2f}  {recall:6.2f}  {edge:10.2f}  {share:6.2f}%"
        lines.append(f"{name:<{wide}}{shown}".replace("nan", "  -"))
    return "\n".join(lines)
