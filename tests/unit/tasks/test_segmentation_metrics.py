"""The metrics of segmentation, by hand and by their laws."""

import math

import pytest
import torch

from regard.data.scene import IGNORE
from regard.tasks.segmentation.metrics import (
    BoundaryF,
    confusion,
    ious,
    mean_iou,
    pixel_accuracy,
    scores,
    table,
)


def mask(*rows: str) -> torch.Tensor:
    """A digit a pixel; a point is of no known class."""
    return torch.tensor([[IGNORE if letter == "." else int(letter) for letter in row] for row in rows]).byte()


def test_by_hand():
    true, found = mask("0011", "00.1", "2211"), mask("0001", "0011", "2111")
    counts = confusion(found, true, 4)
    assert counts.tolist() == [[4, 0, 0, 0], [1, 4, 0, 0], [0, 1, 1, 0], [0, 0, 0, 0]]
    assert ious(counts)[:3].tolist() == pytest.approx([80.0, 100 * 4 / 6, 50.0])
    assert ious(counts)[3].isnan()
    assert mean_iou(counts) == pytest.approx((80 + 100 * 4 / 6 + 50) / 3)
    assert pixel_accuracy(counts) == pytest.approx(100 * 9 / 11)


def test_what_is_right_is_all_right():
    true = torch.randint(0, 5, (40, 50), generator=torch.Generator().manual_seed(1)).byte()
    boundary = BoundaryF(5)
    boundary.add(true, true)
    counts = confusion(true, true, 5)
    assert [score.value for score in scores(counts, boundary, 1)] == pytest.approx([100.0] * 4)
    assert boundary.by_class().tolist() == pytest.approx([100.0] * 5)


@pytest.mark.parametrize(("off", "near"), [(0, True), (3, True), (4, False), (9, False)])
def test_a_boundary_may_lie_off_by_the_tolerance(off, near):
    true, found = torch.zeros(240, 320, dtype=torch.uint8), torch.zeros(240, 320, dtype=torch.uint8)
    true[:, 100:] = 1
    found[:, 100 + off :] = 1
    boundary = BoundaryF(3)
    boundary.add(found, true)
    assert round(0.0075 * math.hypot(240, 320)) == 3
    assert boundary.by_class()[:2].tolist() == pytest.approx([100.0 if near else 0.0] * 2)
    assert boundary.by_class()[2].isnan()
    assert boundary.mean() == pytest.approx(100.0 if near else 0.0)


def test_a_thing_that_is_not_there_or_not_found_counts():
    nothing, thing = torch.zeros(40, 40, dtype=torch.uint8), torch.zeros(40, 40, dtype=torch.uint8)
    thing[10:20, 10:20] = 1
    for found, true in ((nothing, thing), (thing, nothing)):
        boundary = BoundaryF(2)
        boundary.add(found, true)
        assert boundary.by_class().tolist() == [0.0, 0.0]


def test_what_is_unknown_has_no_boundary():
    true, found = mask("000..111", "000..111"), mask("00000111", "00011111")
    boundary = BoundaryF(2)
    boundary.add(found, true)
    assert boundary.mean() != boundary.mean() or boundary.mean() == 100.0  # none at all, or nothing wrong with it
    assert boundary.counts.tolist() == [0, 0]


def test_the_table_has_every_class():
    counts = confusion(mask("01"), mask("00"), 3)
    boundary = BoundaryF(3)
    lines = table(counts, boundary, ["sky", "a long name", "none"]).splitlines()
    assert len(lines) == 4
    assert lines[1].split()[:2] == ["sky", "50.00"]
    assert lines[3].split() == ["none", "-", "-", "-", "-", "0.00%"]
    assert len({len(line) for line in lines[1:]}) == 1
