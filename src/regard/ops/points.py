"""Attention of queries to points of maps, each with keys of its own, by the native kernels."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.ops.native import module
from regard.ops.once import Once


def attend_points(
    query: Float[Tensor, "batch queries heads width"],
    memory: Float[Tensor, "batch cells 2 heads width"],
    sizes: Sequence[tuple[int, int]],
    where: Float[Tensor, "batch queries points 2"],
    place: Float[Tensor, "keys heads width"],
    scale: float,
) -> Float[Tensor, "batch queries heads width"]:
    """`softmax(scale * q (k + place)') v`, head by head, over the points of each query on every map.

    Keys and values of a point are the bilinear mixture of the four cells around it, as `grid_sample` reads them
    (`align_corners=False`, `padding_mode="border"`). They are not kept: going back they are mixed anew, so that memory
    does not grow with queries times points. Where the points lie has no gradient.

    Args:
        query: of a type that is computed in float32, as all others.
        memory: keys and values of the cells of all maps, map by map, row by row.
        sizes: rows and columns of each map.
        where: column and row of each point, as shares of the maps.
        place: what is added to the keys of each point of each map.
        scale: of the scores.

    Returns:
        In the dtype of the query.
    """
    found: Tensor = _Points.apply(query, memory, tuple(sizes), where, place, scale)
    return found


class _Points(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        memory: Tensor,
        sizes: tuple[tuple[int, int], ...],
        where: Tensor,
        place: Tensor,
        scale: float,
    ) -> Tensor:
        given = [tensor.detach().float().contiguous() for tensor in (query, memory, where, place)]
        ctx.save_for_backward(query, memory, where, place)
        ctx.sizes, ctx.scale = torch.tensor(sizes, dtype=torch.int64), scale
        context = torch.empty_like(given[0])
        module().points(_call(given, ctx.sizes, scale), context.data_ptr())
        return context.to(query.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, memory, where, place = ctx.saved_tensors
        given = [tensor.detach().float().contiguous() for tensor in (query, memory, where, place)]
        of_context = gradient.detach().float().contiguous()
        found = [torch.empty_like(given[at]) for at in (0, 1, 3)]
        places = (tensor.data_ptr() for tensor in (of_context, *found))
        module().points_backward(_call(given, ctx.sizes, ctx.scale), *places)
        of_query, of_memory, of_place = (
            one.to(source.dtype) for one, source in zip(found, (query, memory, place), strict=True)
        )
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            of_query, of_memory, of_place = (
                Once.apply("native", one, query, memory, place) for one in (of_query, of_memory, of_place)
            )
        return of_query, of_memory, None, None, of_place, None


def _call(given: Sequence[Tensor], sizes: Tensor, scale: float) -> tuple[Any, ...]:
    """What a call is, as csrc/bindings/module.cpp reads it; `given` live as long as it runs."""
    query, memory, where, _ = given
    batch, queries, heads, width = query.shape
    shape = (batch, queries, heads, width, len(sizes), where.shape[2], memory.shape[1])
    return torch.get_num_threads(), scale, shape, sizes.data_ptr(), *(tensor.data_ptr() for tensor in given)
