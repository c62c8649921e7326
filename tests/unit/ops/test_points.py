"""The kernel of attention to points is attention to what `grid_sample` reads there; so are its gradients."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from regard import attend
from regard.nn.box_attention import Cells, sample
from regard.ops.points import attend_points

pytestmark = pytest.mark.requires("native")
SCALE = 0.4
Leaves = tuple[Tensor, Tensor, Tensor]  # query, memory, place


def draw(
    sizes: tuple[tuple[int, int], ...],
    batch: int = 2,
    queries: int = 3,
    heads: int = 2,
    width: int = 5,
    points: int = 4,
) -> tuple[Leaves, Tensor]:
    """Random numbers, and points of which some lie outside the maps."""
    cells = sum(rows * columns for rows, columns in sizes)
    shapes = (
        (batch, queries, heads, width),
        (batch, cells, 2, heads, width),
        (len(sizes) * points, heads, width),
    )
    query, memory, place = (torch.randn(shape, requires_grad=True) for shape in shapes)
    return (query, memory, place), torch.rand(batch, queries, points, 2) * 1.6 - 0.3


def plain(leaves: Leaves, sizes: tuple[tuple[int, int], ...], where: Tensor) -> Tensor:
    query, memory, place = leaves
    read = sample(Cells(vectors=memory.flatten(2), sizes=sizes), where).unflatten(-1, memory.shape[2:])
    key, value = read.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)
    one_each = SCALE * query.shape[-1] ** 0.5 * query.flatten(0, 1).unsqueeze(2)
    return attend(one_each, key + place.transpose(0, 1), value, backend="reference").view_as(query)


def results(found: Tensor, leaves: Leaves) -> list[Tensor]:
    gradient = torch.linspace(-1.0, 1.0, found.numel(), dtype=found.dtype).view_as(found)
    return [found, *torch.autograd.grad(found, leaves, gradient)]


@given(
    sizes=st.lists(st.tuples(st.integers(1, 7), st.integers(1, 7)), min_size=1, max_size=3).map(tuple),
    batch=st.integers(0, 3),
    queries=st.integers(0, 4),
    heads=st.integers(1, 3),
    width=st.integers(1, 19),
    points=st.integers(1, 9),
)
def test_it_is_attention_to_what_is_read_between_the_cells(sizes: tuple[tuple[int, int], ...], **shape: int) -> None:
    leaves, where = draw(sizes, **shape)
    found = results(attend_points(leaves[0], leaves[1], sizes, where, leaves[2], SCALE), leaves)
    for one, other in zip(found, results(plain(leaves, sizes, where), leaves), strict=True):
        torch.testing.assert_close(one, other, atol=2e-5, rtol=2e-4)


def test_the_number_of_threads_changes_nothing() -> None:
    sizes = ((12, 16), (6, 8))
    leaves, where = draw(sizes, batch=2, queries=40, heads=4, width=32)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(results(attend_points(leaves[0], leaves[1], sizes, where, leaves[2], SCALE), leaves))
    finally:
        torch.set_num_threads(before)
    for others in found[1:]:
        for one, other in zip(found[0], others, strict=True):
            assert torch.equal(one, other)


def test_other_types_are_computed_in_float32() -> None:
    leaves, where = draw(((3, 4),))
    half = tuple(leaf.detach().bfloat16().requires_grad_() for leaf in leaves)
    found = results(attend_points(half[0], half[1], ((3, 4),), where, half[2], SCALE), half)
    assert {one.dtype for one in found} == {torch.bfloat16}
    wide = tuple(leaf.detach().float().requires_grad_() for leaf in half)
    for one, other in zip(found, results(plain(wide, ((3, 4),), where), wide), strict=True):
        torch.testing.assert_close(one.float(), other, atol=2e-2, rtol=2e-2)


def test_a_place_that_is_no_number_stays_none() -> None:
    leaves, where = draw(((3, 4),))
    where[0, 1, 2, 0] = torch.nan
    found = attend_points(leaves[0], leaves[1], ((3, 4),), where, leaves[2], SCALE)
    assert found.isnan().all(-1).all(-1).tolist() == [[False, True, False], [False, False, False]]


@pytest.mark.parametrize("take", [lambda g: g[0], lambda g: g[1], lambda g: g[2]])
def test_second_derivatives_say_what_has_them(take: Callable[[tuple[Tensor, ...]], Tensor]) -> None:
    leaves, where = draw(((3, 4),))
    found = attend_points(leaves[0], leaves[1], ((3, 4),), where, leaves[2], SCALE)
    gradient = take(torch.autograd.grad(found.square().sum(), leaves, create_graph=True))
    with pytest.raises(RuntimeError, match='backend "native" has no second derivatives'):
        gradient.sum().backward()
