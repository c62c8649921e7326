"""Heads side by side: queries, keys and values as columns of one projection, and gradients that are such columns again.

The gradient of a split is its parts put together, a copy of all of them. Where a backward pass writes them side by side
to begin with, they are together.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.ops.following import followed, transformed


def split_heads(
    projected: Float[Tensor, "batch length columns"], heads: Sequence[int], head_dim: int
) -> tuple[Tensor, ...]:
    """Views `(batch, heads, length, head_dim)` of a projection's columns, one for each number of heads.

    Args:
        projected: of as many columns as all heads have.
        heads: of each view, from the first column on.
        head_dim: columns of a head.
    """
    if projected.requires_grad and torch.is_grad_enabled() and not followed(projected) and not transformed():
        found: tuple[Tensor, ...] = _Split.apply(projected, tuple(heads), head_dim)
        return found
    return _split(projected, heads, head_dim)


def empty_beside(*tensors: Tensor) -> list[Tensor]:
    """New tensors of these sizes, `(batch, heads, length, head_dim)` each, whose rows are contiguous.

    Columns of one matrix where neighbours among those are, and nothing else is in it.
    """
    if not tensors:
        return []
    first, count = tensors[0], len(tensors)
    while count > 1 and not _side_by_side(tensors[:count]):
        count -= 1
    if count == 1:
        alone = torch.empty_like(first)
        made = [alone if alone.stride(-1) == 1 else torch.empty_like(first, memory_format=torch.contiguous_format)]
    else:
        heads = [tensor.shape[1] for tensor in tensors[:count]]
        batch, _, length, head_dim = first.shape
        made = list(_split(first.new_empty(batch, length, sum(heads) * head_dim), heads, head_dim))
    return [*made, *empty_beside(*tensors[count:])]


def _split(projected: Tensor, heads: Sequence[int], head_dim: int) -> tuple[Tensor, ...]:
    parts = projected.unflatten(-1, (-1, head_dim)).transpose(1, 2).split_with_sizes(list(heads), 1)
    return tuple(parts)


def _side_by_side(tensors: Sequence[Tensor]) -> bool:
    """Whether these are all columns of one matrix, in their order, and nothing else is in it."""
    first, length, head_dim = tensors[0], tensors[0].shape[2], tensors[0].shape[3]
    widths = [tensor.shape[1] * head_dim for tensor in tensors]
    offsets = list(accumulate(widths, initial=int(first.storage_offset())))
    columns = offsets[-1] - offsets[0]
    return all(
        tensor.stride() == (length * columns, head_dim, columns, 1)
        and tensor.storage_offset() == offset
        and (tensor.shape[0], *tensor.shape[2:]) == (first.shape[0], length, head_dim)
        and tensor.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        for tensor, offset in zip(tensors, offsets, strict=False)
    )


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: tuple[int, ...], head_dim: int) -> tuple[Tensor, ...]:
        return _split(projected, heads, head_dim)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled() or not _side_by_side(gradients):
            return torch.cat(gradients, 1).transpose(1, 2).flatten(2), None, None
        batch, _, length, _ = gradients[0].shape
        columns = gradients[0].stride(2)
        return gradients[0].as_strided((batch, length, columns), (length * columns, columns, 1)), None, None
