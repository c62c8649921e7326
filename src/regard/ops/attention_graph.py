"""Softmax attention by the native kernels as operators of `torch.library`: what a graph sees of `ops.attention`."""

from typing import Any

import torch
from torch import Tensor

from regard.ops.attention import backward_pass, constants, contiguous_pairs, forward_pass


@torch.library.custom_op("regard::attention", mutates_args=(), device_types="cpu")
def forward_operator(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Context and log-sum-exp, both in float32."""
    given = constants(query, key, value, contiguous_pairs(bounds), scale, dropout, int(seed))
    context, logsumexp = forward_pass(query, key, value, given, keep=True)
    assert logsumexp is not None
    return context, logsumexp


@forward_operator.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: Tensor
) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _ = query.shape
    context = query.new_empty(batch, queries, heads, value.shape[3], dtype=torch.float32).transpose(1, 2)
    return context, query.new_empty(batch, heads, queries, dtype=torch.float32)


@torch.library.custom_op("regard::attention_backward", mutates_args=(), device_types="cpu")
def backward_operator(
    gradient: Tensor | None,
    logsumexp_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    logsumexp: Tensor,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value, contiguous: a graph knows no other layout of them."""
    given = constants(query, key, value, contiguous_pairs(bounds), scale, dropout, int(seed))
    of_query, of_key, of_value = backward_pass(
        gradient, logsumexp_gradient, query, key, value, context, logsumexp, given
    )
    return of_query.contiguous(), of_key.contiguous(), of_value.contiguous()


@backward_operator.register_fake
def _(
    gradient: Tensor | None,
    logsumexp_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    logsumexp: Tensor,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    return query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, bounds, scale, dropout, seed = inputs
    ctx.save_for_backward(query, key, value, bounds, *output, seed)
    ctx.options = scale, dropout


def _derive(ctx: Any, gradient: Tensor | None, of_logsumexp: Tensor | None) -> tuple[Tensor | None, ...]:
    query, key, value, bounds, context, logsumexp, seed = ctx.saved_tensors
    found = backward_operator(gradient, of_logsumexp, query, key, value, bounds, context, logsumexp, *ctx.options, seed)
    return *found, None, None, None, None


forward_operator.register_autograd(_derive, setup_context=_keep)
