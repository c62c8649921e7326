"""Attention with sparse weights by the native kernels, as torch sees it: `ops.attention` for other normalisers."""

from typing import Any

import torch
from torch import Tensor

from regard.ops.attention import backward_pass, constants, contiguous_pairs, forward_pass
from regard.ops.following import followed
from regard.ops.once import Once


def sparse_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    scale: float,
    power: int,
    dropout: float,
    seed: int | Tensor,
) -> Tensor:
    """`p value`, where p are the sparsemax or the 1.5-entmax of `scale * query key'`.

    Args:
        query, key, value: as for `ops.attention.attention_and_logsumexp`, in float32.
        power: 1 for sparsemax (Martins and Astudillo 2016), 2 for 1.5-entmax (Peters et al. 2019).
        bounds, scale, dropout, seed: as there.

    Returns:
        `(batch, heads, queries, value_width)`.
    """
    if followed(query, key, value):
        given = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)
        return forward_operator(query, key, value, bounds, scale, power, dropout, given)[0]
    assert not isinstance(seed, Tensor)
    context: Tensor = _Sparse.apply(query, key, value, contiguous_pairs(bounds), scale, power, dropout, seed)
    return context


class _Sparse(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bounds: Tensor | None,
        scale: float,
        power: int,
        dropout: float,
        seed: int,
    ) -> Tensor:
        given = constants(query, key, value, bounds, scale, dropout, seed, power)
        context, thresholds = forward_pass(query, key, value, given, keep=True)
        ctx.save_for_backward(query, key, value, context, thresholds)
        ctx.bounds, ctx.given = bounds, given
        return context

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, context, thresholds = ctx.saved_tensors
        found = backward_pass(gradient, None, query, key, value, context, thresholds, ctx.given)
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            found = tuple(Once.apply("native", tensor, query, key, value) for tensor in found)
        return *found, None, None, None, None, None


@torch.library.custom_op("regard::sparse_attention", mutates_args=(), device_types="cpu")
def forward_operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    scale: float,
    power: int,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    """Context, and the thresholds and highest scores, `(2, batch, heads, queries)`."""
    given = constants(query, key, value, contiguous_pairs(bounds), scale, dropout, int(seed), power)
    context, thresholds = forward_pass(query, key, value, given, keep=True)
    assert thresholds is not None
    return context, thresholds


@forward_operator.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    scale: float,
    power: int,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _ = query.shape
    context = query.new_empty(batch, queries, heads, value.shape[3]).transpose(1, 2)
    return context, query.new_empty(2, batch, heads, queries)


@torch.library.custom_op("regard::sparse_attention_backward", mutates_args=(), device_types="cpu")
def backward_operator(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    thresholds: Tensor,
    scale: float,
    power: int,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, contiguous: a graph knows no other layout of them."""
    given = constants(query, key, value, contiguous_pairs(bounds), scale, dropout, int(seed), power)
    of_query, of_key, of_value = backward_pass(gradient, None, query, key, value, context, thresholds, given)
    return of_query.contiguous(), of_key.contiguous(), of_value.contiguous()


@backward_operator.register_fake
def _(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    thresholds: Tensor,
    scale: float,
    power: int,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, scale, power, dropout, seed = inputs
    ctx.save_for_backward(query, key, value, bounds, *output, seed)
    ctx.options = scale, power, dropout


def _derive(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, bounds, context, thresholds, seed = ctx.saved_tensors
    found = backward_operator(gradient, query, key, value, bounds, context, thresholds, *ctx.options, seed)
    return *found, None, None, None, None, None


forward_operator.register_autograd(_derive, setup_context=_keep)
