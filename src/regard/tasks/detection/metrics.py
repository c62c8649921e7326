"""The metrics of detection: COCO's average precision, by faster-coco-eval."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

import numpy
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from regard.tasks.evaluation import Score

MOST = 100  # boxes of a picture that count, the surest first


@dataclass(frozen=True, kw_only=True, eq=False)
class Detected:
    """What was found in a picture: boxes (left, top, right, bottom, in pixels), how sure, and of which class."""

    boxes: Float[Tensor, "found 4"]
    scores: Float[Tensor, " found"]
    labels: Int[Tensor, " found"]

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, kw_only=True, eq=False)
class Truth:
    """What is true of a picture: its size, boxes and their classes."""

    size: tuple[int, int]  # height and width
    boxes: Float[Tensor, "things 4"]
    labels: Int[Tensor, " things"]


@dataclass(frozen=True, kw_only=True)
class OfClass:
    """How well one class is found: average precision in percent (NaN for a class that does not occur), and how often
    it occurs."""

    ap: float
    ap50: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Precision:
    """COCO's average precisions in percent: over overlaps from 0.5 to 0.95, at 0.5 and 0.75, by size, by class.

    The size of a thing is its area in pixels: small below 32 squared, large above 96 squared; NaN where none occurs.
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    recall: float
    classes: tuple[OfClass, ...]

    def scores(self, pictures: int) -> list[Score]:
        """What results are published in."""
        by = f"faster-coco-eval {version('faster-coco-eval')}, {pictures} pictures, in %"
        areas = "area below 32²", "area 32² to 96²", "area above 96²"
        return [
            Score(name="AP", value=self.ap, signature=f"overlaps 0.50:0.95, {by}"),
            Score(name="AP50", value=self.ap50, signature=f"overlap 0.50, {by}"),
            Score(name="AP75", value=self.ap75, signature=f"overlap 0.75, {by}"),
            *(
                Score(name=f"AP {name}", value=value, signature=f"{area}, {by}")
                for name, value, area in zip(
                    ("small", "medium", "large"), (self.small, self.medium, self.large), areas, strict=True
                )
                if value == value
            ),
            Score(name="AR", value=self.recall, signature=f"overlaps 0.50:0.95, {MOST} boxes a picture, {by}"),
        ]

    def table(self, classes: Sequence[str]) -> str:
        """A line a class."""
        wide = max(len("class"), *(len(name) for name in classes))
        lines = [f"{'class':<{wide}}      AP    AP50  things"]
        for name, of_one in zip(classes, self.classes, strict=True):
            numbers = f"{of_one.ap:8.2f}{of_one.ap50:8.2f}" if of_one.count else f"{'-':>8}{'-':>8}"
            lines.append(f"{name:<{wide}}{numbers}{of_one.count:8}")
        return "\n".join(lines)


def average_precision(found: Sequence[Detected], true: Sequence[Truth], classes: int) -> Precision:
    """COCO's metrics of what was found in pictures."""
    annotations: list[dict[str, object]] = []
    results: list[dict[str, object]] = []
    for number, (one, other) in enumerate(zip(found, true, strict=True), 1):
        for (left, top, right, bottom), label in zip(other.boxes.tolist(), other.labels.tolist(), strict=True):
            box = [left, top, right - left, bottom - top]
            annotations.append(
                {"id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "bbox": box,
                 "area": box[2] * box[3], "iscrowd": 0}
            )  # fmt: skip
        rows = zip(one.boxes.tolist(), one.scores.tolist(), one.labels.tolist(), strict=True)
        for (left, top, right, bottom), score, label in rows:
            box = [left, top, right - left, bottom - top]
            results.append({"image_id": number, "category_id": label + 1, "bbox": box, "score": score})
    counts = [sum(int((one.labels == label).sum()) for one in true) for label in range(classes)]
    if not results or not annotations:  # which the library takes for an error
        nothing = 0.0 if annotations else float("nan")
        of_each = tuple(OfClass(ap=nothing, ap50=nothing, count=count) for count in counts)
        values = dict.fromkeys(("ap", "ap50", "ap75", "small", "medium", "large", "recall"), nothing)
        return Precision(**values, classes=of_each)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": number, "height": one.size[0], "width": one.size[1]} for number, one in enumerate(true, 1)],
        "annotations": annotations,
        "categories": [{"id": label + 1, "name": str(label)} for label in range(classes)],
    }
    truth.createIndex()
    evaluation = COCOeval_faster(truth, truth.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    ap, ap50, ap75, small, medium, large, _, _, recall, *_ = (_percent(value) for value in evaluation.stats)
    precision = numpy.asarray(evaluation.eval["precision"])  # overlaps, recalls, classes, areas, most
    of_class = tuple(
        OfClass(ap=_mean(precision[:, :, label, 0, -1]), ap50=_mean(precision[0, :, label, 0, -1]), count=counts[label])
        for label in range(classes)
    )
    return Precision(
        ap=ap, ap50=ap50, ap75=ap75, small=small, medium=medium, large=large, recall=recall, classes=of_class
    )


def _percent(value: float) -> float:
    """In percent; -1, which the library gives for nothing, is NaN."""
    return 100.0 * float(value) if value >= 0 else float("nan")


def _mean(values: NDArray[numpy.float64]) -> float:
    known = values[values > -1]
    return 100.0 * float(known.mean()) if known.size else float("nan")
