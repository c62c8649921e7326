"""What may keep a detector from learning, said before it is trained and while it does not."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.boxed import Survey
from regard.models.boxes import iou
from regard.tasks.detection.metrics import Detected, Truth
from regard.tasks.detection.recipe import Recipe

RARE = 100.0  # the most frequent class by this one: a class so rare is named
THIN = 4.0  # pixels: what is thinner at the size trained on has hardly a cell of its own
EARLY = 1.0  # AP50 in percent, below which a run has not learned
SHIFTED = 0.15  # of IoU: by how much boxes that are moved or turned must fit better, to be named


def of_data(survey: Survey, recipe: Recipe) -> list[str]:
    """What is odd about training data: empty classes, rare ones, boxes too thin, boxes outside, crowded pictures."""
    said = []
    names, counts = survey.pictures.classes, survey.things
    missing = [name for name, count in zip(names, counts.tolist(), strict=True) if not count]
    if missing:
        said.append(f"no training picture has the class {', '.join(missing)}: it can never be found")
    most = int(counts.max()) if len(counts) else 0
    rare = [name for name, count in zip(names, counts.tolist(), strict=True) if 0 < count * RARE <= most]
    if rare:
        said.append(f"there are {most} things of the most frequent class and {RARE:.0f} times fewer {', '.join(rare)}")
    thin = float((survey.sides * max(recipe.size) < THIN).double().mean()) if len(survey.sides) else 0.0
    if thin > 0.05:
        said.append(
            f"{100 * thin:.0f}% of the boxes are less than {THIN:.0f} pixels wide or high at the size trained on: give "
            f"a larger one, such as --size '[{2 * recipe.size[0]}, {2 * recipe.size[1]}]'"
        )
    if survey.outside:
        said.append(f"{survey.outside} boxes enclose nothing of their picture, and are left out")
    if survey.empty:
        said.append(f"{survey.empty} pictures have no things, and teach what is none")
    crowded = max((len(one.boxes) for one in survey.pictures.boxes if not isinstance(one, str)), default=0)
    if crowded > recipe.model.queries:
        said.append(
            f"a picture has {crowded} things, and the model finds {recipe.model.queries} at most: "
            f"--model.queries {crowded}"
        )
    return said


def of_run(found: Sequence[Detected], true: Sequence[Truth]) -> str:
    """Why a run that has not learned may not have: whether its boxes or its classes are wrong, or its labels are."""
    fits, turned, best_class = [], [], []
    for one, other in zip(found, true, strict=True):
        if not len(other.labels) or not len(one):
            continue
        fit = iou(one.boxes[:, None], other.boxes[None])[0]
        best, which = fit.max(0)
        fits.append(best)
        best_class.append(one.labels[which] == other.labels)
        turned.append(iou(one.boxes[:, None], other.boxes[None][..., [1, 0, 3, 2]])[0].amax(0))
    if not fits:
        return "it finds nothing yet: train longer, or with a higher learning rate"
    fit, right = torch.cat(fits), torch.cat(best_class).double()
    if float(torch.cat(turned).mean()) > float(fit.mean()) + SHIFTED:
        return "what it finds fits the boxes better with rows and columns exchanged: look at how the boxes are written"
    off = _shift(found, true)
    if off is not None:
        return f"what it finds lies {off} of the boxes: look at whether pictures and boxes are of the same size"
    if float(fit.median()) < 0.5:
        return (
            f"its boxes do not fit yet (the median of the best overlap with each thing is {float(fit.median()):.2f}): "
            "train longer, or on larger pictures (--size)"
        )
    return (
        f"its boxes fit (median overlap {float(fit.median()):.2f}), but {100 * float(right.mean()):.0f}% of them have "
        "the right class: look at whether classes look alike, or one is rare"
    )


def _shift(found: Sequence[Detected], true: Sequence[Truth]) -> str | None:
    """Where the nearest boxes lie, if they lie on one side of all things by more than a quarter of their size."""
    moves = []
    for one, other in zip(found, true, strict=True):
        if not len(other.labels) or not len(one):
            continue
        own, theirs = _centres(one.boxes), _centres(other.boxes)
        nearest = torch.cdist(theirs, own).argmin(1)
        moves.append((own[nearest] - theirs) / (other.boxes[:, 2:] - other.boxes[:, :2]).clamp_min(1.0))
    move = torch.cat(moves).median(0).values
    sides = [name for name, far in zip(("right", "below"), move.tolist(), strict=True) if far > 0.25]
    sides += [name for name, far in zip(("left", "above"), move.tolist(), strict=True) if far < -0.25]
    return " and ".join(sides) or None


def _centres(boxes: Float[Tensor, "boxes 4"]) -> Float[Tensor, "boxes 2"]:
    return (boxes[:, :2] + boxes[:, 2:]) / 2.0
