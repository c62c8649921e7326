"""The algebra of intervals, against Python's sets."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from regard.attention import intervals

KEYS = 11
ROWS = 3


@st.composite
def bounds(draw: st.DrawFn) -> Tensor:
    """Sets of keys as sorted disjoint intervals, from raw ones that may be empty or reach outside."""
    columns = draw(st.integers(1, 3))
    cuts = st.lists(st.integers(-2, KEYS + 2), min_size=2 * columns, max_size=2 * columns).map(sorted)
    rows = draw(st.lists(cuts, min_size=ROWS, max_size=ROWS))
    return intervals.tidy(torch.tensor(rows).view(ROWS, columns, 2), KEYS)


def as_sets(tensor: Tensor) -> list[set[int]]:
    return [{key for low, high in row for key in range(low, high)} for row in tensor.tolist()]


def assert_canonical(tensor: Tensor) -> None:
    """Disjoint, rising, inside the keys, the empty ones last, and no column without a use."""
    low, high = tensor.unbind(-1)
    assert bool((low >= 0).all())
    assert bool((high <= KEYS).all())
    assert bool((low[..., 1:] >= high[..., :-1]).all())
    empty = low == high
    assert bool((low <= high).all())
    assert bool((low[empty] == KEYS).all())
    assert tensor.shape[-2] == 1 or not bool(empty[..., -1].all())


@given(bounds())
def test_complement(tensor: Tensor) -> None:
    result = intervals.complement(tensor, KEYS)
    assert_canonical(result)
    assert as_sets(result) == [set(range(KEYS)) - row for row in as_sets(tensor)]


@given(bounds(), bounds())
def test_intersection_and_union(left: Tensor, right: Tensor) -> None:
    both, either = intervals.intersect(left, right, KEYS), intervals.union(left, right, KEYS)
    pairs = list(zip(as_sets(left), as_sets(right), strict=True))
    assert_canonical(both)
    assert_canonical(either)
    assert as_sets(both) == [one & other for one, other in pairs]
    assert as_sets(either) == [one | other for one, other in pairs]


@given(bounds())
def test_contains(tensor: Tensor) -> None:
    inside = intervals.contains(tensor, KEYS)
    assert [{key for key in range(KEYS) if row[key]} for row in inside.tolist()] == as_sets(tensor)


@given(bounds(), bounds())
def test_leading_dimensions_broadcast(left: Tensor, right: Tensor) -> None:
    result = intervals.intersect(left.view(ROWS, 1, -1, 2), right.view(1, ROWS, -1, 2), KEYS)
    assert result.shape[:2] == (ROWS, ROWS)
    for one, row in zip(as_sets(left), result, strict=True):
        assert as_sets(row) == [one & other for other in as_sets(right)]


def test_union_joins_intervals_that_touch() -> None:
    joined = intervals.union(torch.tensor([[2, 5]]), torch.tensor([[5, 7]]), KEYS)
    assert joined.tolist() == [[2, 7]]


def test_no_keys() -> None:
    nothing = intervals.tidy(torch.tensor([[0, 3]]), 0)
    assert nothing.tolist() == [[0, 0]]
    assert intervals.complement(nothing, 0).tolist() == [[0, 0]]
    assert intervals.contains(nothing, 0).shape == (0,)
