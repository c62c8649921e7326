"""Boxes: two ways to write them, and how far they agree."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.models.boxes import giou, inverse_sigmoid, iou, sinusoids, to_centred, to_corners


def some(count: int, seed: int) -> torch.Tensor:
    """Corners of boxes."""
    low, size = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(seed))
    return torch.cat((low, low + size + 0.01), -1)


@given(st.integers(0, 99))
def test_both_ways_to_write_a_box_are_one(seed):
    boxes = some(7, seed)
    torch.testing.assert_close(to_corners(to_centred(boxes)), boxes)


def test_overlap_by_hand():
    one = torch.tensor([0.0, 0.0, 4.0, 2.0])
    others = torch.tensor([[0.0, 0.0, 4.0, 2.0], [2.0, 1.0, 6.0, 3.0], [5.0, 0.0, 6.0, 2.0], [4.0, 0.0, 8.0, 2.0]])
    overlap, union = iou(one, others)
    assert overlap.tolist() == pytest.approx([1.0, 2 / 14, 0.0, 0.0])
    assert union.tolist() == pytest.approx([8.0, 14.0, 10.0, 16.0])
    assert giou(one, others).tolist() == pytest.approx([1.0, 2 / 14 - 4 / 18, -2 / 12, 0.0])


@given(st.integers(0, 99))
def test_overlap_is_symmetric_and_knows_no_unit(seed):
    one, other = some(5, seed)[:, None], some(6, seed + 100)[None]
    for measure in (lambda a, b: iou(a, b)[0], giou):
        torch.testing.assert_close(measure(one, other), measure(other, one))
        torch.testing.assert_close(measure(7 * one, 7 * other), measure(one, other), atol=1e-5, rtol=1e-5)
    assert (giou(one, other) <= iou(one, other)[0] + 1e-6).all()


def test_the_logit_of_a_share():
    shares = torch.tensor([0.001, 0.3, 0.5, 0.9])
    torch.testing.assert_close(inverse_sigmoid(shares).sigmoid(), shares)
    assert inverse_sigmoid(torch.tensor([0.0, 1.0])).isfinite().all()


def test_sinusoids_tell_boxes_apart():
    boxes = to_centred(some(9, 1))
    vectors = sinusoids(boxes, 32)
    assert vectors.shape == (9, 32)
    assert torch.cdist(vectors, vectors).fill_diagonal_(9.0).min() > 0.1
    torch.testing.assert_close(vectors[:, :8], sinusoids(boxes[:, :1].expand(9, 4), 32)[:, :8])
    with pytest.raises(ValueError, match="dim must be a multiple of 8, got 12"):
        sinusoids(boxes, 12)
