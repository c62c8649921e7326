"""The metrics of classification: accuracy, F1, confusions, and whether probabilities mean what they say."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.tasks.evaluation import Evaluation, Score

BINS = 15  # of confidence, as Guo et al. 2017
Chosen = Bool[Tensor, "texts classes"]  # the classes that each text has, or was found to have


def wanted(labels: Sequence[tuple[int, ...]], classes: int) -> Chosen:
    """The true classes of each text, from their numbers."""
    found = torch.zeros(len(labels), classes, dtype=torch.bool)
    for row, numbers in enumerate(labels):
        found[row, list(numbers)] = True
    return found


def decided(probabilities: Float[Tensor, "texts classes"], *, several: bool) -> Chosen:
    """The likeliest class; where there may be several, all that are at least as likely as not."""
    if several:
        return probabilities >= 0.5
    return torch.nn.functional.one_hot(probabilities.argmax(-1), probabilities.shape[-1]).bool()


def accuracy(found: Chosen, true: Chosen) -> float:
    """The percentage of texts whose classes are all right."""
    return 100.0 * float((found == true).all(-1).double().mean())


@dataclass(frozen=True, kw_only=True)
class OfClass:
    """How well one class was found, in percent, and how many texts are of it."""

    precision: float
    recall: float
    f1: float
    count: int
    found: int


def by_class(found: Chosen, true: Chosen) -> list[OfClass]:
    """Precision, recall and F1 of every class; a quotient with nothing to divide by is 0."""
    rows = []
    for one, other in zip(found.T, true.T, strict=True):
        both, given, count = int((one & other).sum()), int(one.sum()), int(other.sum())
        rows.append(
            OfClass(
                precision=100.0 * both / max(given, 1),
                recall=100.0 * both / max(count, 1),
                f1=200.0 * both / max(given + count, 1),
                count=count,
                found=given,
            )
        )
    return rows


def macro_f1(found: Chosen, true: Chosen) -> float:
    """The mean F1 of the classes, in percent; a class that no text has and none was found to have is left out."""
    rows = [row for row in by_class(found, true) if row.count or row.found]
    return sum(row.f1 for row in rows) / max(len(rows), 1)


def confusion(found: Chosen, true: Chosen) -> Int[Tensor, "true found"]:
    """How many texts of each class were found to be of each."""
    return (true.T.double() @ found.double()).long()


def calibration(
    confidence: Float[Tensor, " decisions"], right: Bool[Tensor, " decisions"]
) -> tuple[Float[Tensor, "bins 3"], float]:
    """Of each bin of confidence its share of the decisions, mean confidence and accuracy; and the expected error.

    The error is the mean over decisions of `|accuracy - confidence|` of their bin, in percent (Naeini et al. 2015).
    """
    which = (confidence.double() * BINS).long().clamp_max(BINS - 1)
    table = torch.zeros(BINS, 3, dtype=torch.float64)
    for number in range(BINS):
        inside = which == number
        if inside.any():
            table[number] = torch.stack(
                (inside.double().mean(), confidence[inside].double().mean(), right[inside].double().mean())
            )
    return table, 100.0 * float((table[:, 0] * (table[:, 1] - table[:, 2]).abs()).sum())


def evaluation(
    probabilities: Float[Tensor, "texts classes"],
    labels: Sequence[tuple[int, ...]],
    classes: Sequence[str],
    outputs: list[str],
    *,
    several: bool,
) -> Evaluation:
    """Every metric, a table of the classes, and the pictures."""
    from regard.tasks.sentiment.pictures import draw_calibration, draw_confusion

    true, found = wanted(labels, len(classes)), decided(probabilities, several=several)
    rows = by_class(found, true)
    if several:
        confidence, right = probabilities.where(found, 1.0 - probabilities).flatten(), (found == true).flatten()
    else:
        confidence, right = probabilities.amax(-1), (found & true).any(-1)
    bins, error = calibration(confidence, right)
    counted = [row for row in rows if row.count or row.found]
    right_is = "all labels" if several else "the label"
    scores = [
        Score(name="accuracy", value=accuracy(found, true), signature=f"{right_is} right, {len(labels)} texts, in %"),
        Score(name="macro F1", value=macro_f1(found, true), signature=f"mean of {len(counted)} classes, in %"),
        Score(name="calibration error", value=error, signature=f"expected, {BINS} bins of confidence, in %"),
    ]
    pictures = {"calibration.png": draw_calibration(bins, error)}
    if not several:
        pictures["confusion.png"] = draw_confusion(confusion(found, true), classes)
    return Evaluation(scores=scores, outputs=outputs, table=_table(classes, rows), pictures=pictures)


def _table(classes: Sequence[str], rows: Sequence[OfClass]) -> str:
    wide = max(len("class"), *(len(name) for name in classes))
    lines = [f"{'class':<{wide}}  precision  recall      F1   texts   found"]
    for name, row in zip(classes, rows, strict=True):
        note = "" if row.count else "   no text of it here"
        percent = f"{row.precision:9.2f}  {row.recall:6.2f}  {row.f1:6.2f}"
        lines.append(f"{name:<{wide}}  {percent}  {row.count:6}  {row.found:6}{note}")
    return "\n".join(lines)
