"""Attention with Bahdanau's score by the native kernels, as torch sees it: `ops.attention` for another score."""

from typing import Any

import torch
from torch import Tensor

from regard.ops.attention import backward_pass, constants, contiguous_pairs, forward_pass
from regard.ops.following import followed
from regard.ops.once import Once


def additive_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bounds: Tensor | None,
    scale: float,
    dropout: float,
    seed: int | Tensor,
) -> tuple[Tensor, Tensor]:
    """`softmax(scale * s) value`, `s[i, j] = sum_h weight[h] tanh(query[i, h] + key[j, h])` (Bahdanau et al. 2015).

    Args:
        query: `(batch, heads, queries, hidden)`, projected, in float32.
        key: `(batch, kv_heads, keys, hidden)`, projected.
        value: `(batch, kv_heads, keys, value_width)`.
        weight: `(heads, hidden)`.
        bounds, scale, dropout, seed: as for `ops.attention.attention_and_logsumexp`.

    Returns:
        `(batch, heads, queries, value_width)`, and the log-sum-exp of `scale * s`, `(batch, heads, queries)`.
    """
    weight = weight.contiguous()
    if followed(query, key, value, weight):
        given = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)
        return forward_operator(query, key, value, weight, bounds, scale, dropout, given)
    assert not isinstance(seed, Tensor)
    found: tuple[Tensor, Tensor] = _Additive.apply(
        query, key, value, weight, contiguous_pairs(bounds), scale, dropout, seed
    )
    return found


class _Additive(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        weight: Tensor,
        bounds: Tensor | None,
        scale: float,
        dropout: float,
        seed: int,
    ) -> tuple[Tensor, Tensor | None]:
        given = constants(query, key, value, bounds, scale, dropout, seed)
        context, logsumexp = forward_pass(query, key, value, given, keep=True, weight=weight)
        ctx.save_for_backward(query, key, value, weight, context, logsumexp)
        ctx.bounds, ctx.given = bounds, given
        ctx.set_materialize_grads(False)
        return context, logsumexp

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, of_logsumexp: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, weight, context, logsumexp = ctx.saved_tensors
        found = backward_pass(gradient, of_logsumexp, query, key, value, context, logsumexp, ctx.given, weight)
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            found = tuple(Once.apply("native", tensor, query, key, value, weight) for tensor in found)
        return *found, None, None, None, None


@torch.library.custom_op("regard::additive_attention", mutates_args=(), device_types="cpu")
def forward_operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bounds: Tensor | None,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    """Context and log-sum-exp."""
    given = constants(query, key, value, contiguous_pairs(bounds), scale, dropout, int(seed))
    context, logsumexp = forward_pass(query, key, value, given, keep=True, weight=weight)
    assert logsumexp is not None
    return context, logsumexp


@forward_operator.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bounds: Tensor | None,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _ = query.shape
    context = query.new_empty(batch, queries, heads, value.shape[3]).transpose(1, 2)
    return context, query.new_empty(batch, heads, queries)


@torch.library.custom_op("regard::additive_attention_backward", mutates_args=(), device_types="cpu")
def backward_operator(
    gradient: Tensor | None,
    logsumexp_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    logsumexp: Tensor,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gradients of query, key, value and weight, contiguous: a graph knows no other layout of them."""
    given = constants(query, key, value, contiguous_pairs(bounds), scale, dropout, int(seed))
    found = backward_pass(gradient, logsumexp_gradient, query, key, value, context, logsumexp, given, weight)
    of_query, of_key, of_value, of_weight = (tensor.contiguous() for tensor in found)
    return of_query, of_key, of_value, of_weight


@backward_operator.register_fake
def _(
    gradient: Tensor | None,
    logsumexp_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    logsumexp: Tensor,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    of_query, of_key, of_value = query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape)
    return of_query, of_key, of_value, weight.new_empty(weight.shape)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, weight, bounds, scale, dropout, seed = inputs
    ctx.save_for_backward(query, key, value, weight, bounds, *output, seed)
    ctx.options = scale, dropout


def _derive(ctx: Any, gradient: Tensor | None, of_logsumexp: Tensor | None) -> tuple[Tensor | None, ...]:
    query, key, value, weight, bounds, context, logsumexp, seed = ctx.saved_tensors
    found = backward_operator(
        gradient, of_logsumexp, query, key, value, weight, bounds, context, logsumexp, *ctx.options, seed
    )
    return *found, None, None, None, None


forward_operator.register_autograd(_derive, setup_context=_keep)
