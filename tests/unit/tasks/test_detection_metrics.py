"""COCO's average precision, by hand."""

import pytest
import torch

from regard.tasks.detection.metrics import Detected, Truth, average_precision


def detected(*rows: tuple[list[float], float, int]) -> Detected:
    return Detected(
        boxes=torch.tensor([box for box, *_ in rows]).view(-1, 4),
        scores=torch.tensor([score for _, score, _ in rows]),
        labels=torch.tensor([label for *_, label in rows], dtype=torch.long),
    )


def true(*rows: tuple[list[float], int]) -> Truth:
    boxes, labels = torch.tensor([box for box, _ in rows]).view(-1, 4), [label for _, label in rows]
    return Truth(size=(100, 200), boxes=boxes, labels=torch.tensor(labels, dtype=torch.long))


BOX, FAR = [10.0, 10.0, 50.0, 50.0], [100.0, 20.0, 160.0, 90.0]


def test_what_is_right_is_all_right():
    found = average_precision([detected((BOX, 0.9, 0), (FAR, 0.8, 1))], [true((BOX, 0), (FAR, 1))], 2)
    assert (found.ap, found.ap50, found.ap75, found.recall) == pytest.approx((100, 100, 100, 100))
    assert [one.count for one in found.classes] == [1, 1]
    assert found.small != found.small, "there is no small one"


def test_a_box_that_fits_by_three_fifths_is_found_at_three_of_ten_overlaps():
    off = [10.0, 10.0, 50.0, 34.0 + 1e-3]  # three fifths of the box, and a little
    found = average_precision([detected((off, 0.9, 0))], [true((BOX, 0))], 1)
    assert found.ap50 == pytest.approx(100)
    assert found.ap75 == pytest.approx(0)
    assert found.ap == pytest.approx(30)


def test_a_surer_wrong_box_halves_the_precision():
    found = average_precision([detected((FAR, 0.9, 0), (BOX, 0.8, 0))], [true((BOX, 0))], 1)
    assert found.ap50 == pytest.approx(50)
    less = average_precision([detected((FAR, 0.7, 0), (BOX, 0.8, 0))], [true((BOX, 0))], 1)
    assert less.ap50 == pytest.approx(100)


def test_another_class_is_another_thing():
    found = average_precision([detected((BOX, 0.9, 1))], [true((BOX, 0))], 2)
    assert found.ap50 == pytest.approx(0)
    assert found.classes[1].ap != found.classes[1].ap, "a class that does not occur has none"


def test_nothing_found_and_nothing_true():
    assert average_precision([detected()], [true((BOX, 0))], 1).ap == 0
    none = average_precision([detected((BOX, 0.9, 0))], [true()], 1)
    assert none.ap != none.ap


def test_scores_and_table_for_people():
    found = average_precision([detected((BOX, 0.9, 0))], [true((BOX, 0))], 2)
    scores = found.scores(1)
    assert [score.name for score in scores] == ["AP", "AP50", "AP75", "AP medium", "AR"]
    assert "faster-coco-eval" in scores[0].signature
    lines = found.table(["cell", "a platelet"]).splitlines()
    assert lines[1].split() == ["cell", "100.00", "100.00", "1"]
    assert lines[2].split() == ["a", "platelet", "-", "-", "0"]
