"""Softmax attention by the native kernels, forward and backward, as torch sees it.

Eager calls go through `autograd.Function`, which costs little; the operators of `torch.library` are the same two
functions for graphs (`torch.compile`).
"""

from typing import Any

import torch
from torch import Tensor

from regard.ops.native import module
from regard.ops.once import Once

TYPES = {torch.float32: 0, torch.bfloat16: 1}


def attention(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: int | Tensor
) -> Tensor:
    """`softmax(scale * query key') value` over the keys that `bounds` allow.

    Args:
        query: `(batch, heads, queries, width)`, in float32 or bfloat16, strided in any way.
        key: `(batch, kv_heads, keys, width)`.
        value: `(batch, kv_heads, keys, value_width)`.
        bounds: int64 `(batch, heads, queries, m, 2)`, of which the first three may be 1: m (one or two) disjoint
            half-open intervals of keys for each query. None: every key.
        scale: factor of the scores.
        dropout: probability of dropping a weight, by the contract of `regard.attention.random`.
        seed: of that contract; a tensor in a graph.

    Returns:
        `(batch, heads, queries, value_width)`, laid out (batch, queries, heads, value_width).
    """
    if torch.compiler.is_compiling():
        given = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)
        return forward_operator(query, key, value, bounds, scale, dropout, given)[0].to(query.dtype)
    assert not isinstance(seed, Tensor)
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        context: Tensor = _Attention.apply(query, key, value, bounds, scale, dropout, seed)
        return context
    return _forward(query, key, value, bounds, scale, dropout, seed)[0].to(query.dtype)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bounds: Tensor | None,
        scale: float,
        dropout: float,
        seed: int,
    ) -> Tensor:
        context, logsumexp = _forward(query, key, value, bounds, scale, dropout, seed)
        ctx.save_for_backward(query, key, value, bounds, context, logsumexp)
        ctx.options = scale, dropout, seed
        return context.to(query.dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, bounds, context, logsumexp = ctx.saved_tensors
        gradients = _backward(gradient, query, key, value, bounds, context, logsumexp, *ctx.options)
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            gradients = tuple(Once.apply("native", tensor, query, key, value) for tensor in gradients)
        return *gradients, None, None, None, None


def _call(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: int
) -> tuple[Any, ...]:
    """What both passes begin with, as csrc/bindings/module.cpp reads it."""
    batch, heads, queries, width = query.shape
    intervals: tuple[int, ...] = (0, 0, 0, 0, 0)
    if bounds is not None:
        strides = (stride if size > 1 else 0 for size, stride in zip(bounds.shape[:3], bounds.stride(), strict=False))
        intervals = (bounds.data_ptr(), *strides, bounds.shape[3])
    return (
        TYPES[query.dtype],
        torch.get_num_threads(),
        scale,
        seed & 0xFFFFFFFFFFFFFFFF,
        round(dropout * 2**32),
        1.0 / (1.0 - dropout),
        (batch, heads, key.shape[1], queries, key.shape[2], width, value.shape[3]),
        intervals,
        _where(query),
        _where(key),
        _where(value),
    )


def _where(tensor: Tensor) -> tuple[int, ...]:
    return (tensor.data_ptr(), *tensor.stride())


def _forward(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: int
) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _ = query.shape
    context = torch.empty(batch, queries, heads, value.shape[3]).transpose(1, 2)
    logsumexp = torch.empty(batch, heads, queries)
    bounds = None if bounds is None else _contiguous_pairs(bounds)
    module().forward(*_call(query, key, value, bounds, scale, dropout, seed), _where(context), logsumexp.data_ptr())
    return context, logsumexp


def _backward(
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    context: Tensor,
    logsumexp: Tensor,
    scale: float,
    dropout: float,
    seed: int,
) -> tuple[Tensor, Tensor, Tensor]:
    native = module()
    batch, heads, queries, width = query.shape
    _, kv_heads, keys, value_width = value.shape
    gradient = gradient.to(query.dtype)
    bounds = None if bounds is None else _contiguous_pairs(bounds)
    parts, padded, padded_value = native.plan(
        torch.get_num_threads(), batch, heads, kv_heads, queries, width, value_width
    )
    query_gradient = torch.empty_like(query)
    key_gradient = torch.zeros(batch, kv_heads, parts, keys, padded)
    value_gradient = torch.zeros(batch, kv_heads, parts, keys, padded_value)
    native.backward(
        *_call(query, key, value, bounds, scale, dropout, seed),
        _where(context),
        _where(gradient),
        logsumexp.data_ptr(),
        0,
        _where(query_gradient),
        key_gradient.data_ptr(),
        value_gradient.data_ptr(),
        parts,
        padded,
        padded_value,
    )
    return query_gradient, _total(key_gradient, width, key.dtype), _total(value_gradient, value_width, key.dtype)


def _total(parts: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """The sum of a gradient's parts, (batch, heads, parts, length, padded width), without what pads it."""
    whole = parts[:, :, 0] if parts.shape[2] == 1 else parts.sum(2)
    return whole[..., :width].to(dtype)


def _contiguous_pairs(bounds: Tensor) -> Tensor:
    """The kernels take the last two dimensions, an interval's ends, as contiguous, and the others as they are."""
    return bounds if bounds.stride()[-2:] == (2, 1) else bounds.contiguous()


@torch.library.custom_op("regard::attention", mutates_args=(), device_types="cpu")
def forward_operator(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: Tensor
) -> tuple[Tensor, Tensor]:
    """Context and log-sum-exp, both in float32."""
    return _forward(query, key, value, bounds, scale, dropout, int(seed))


@forward_operator.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: Tensor
) -> tuple[Tensor, Tensor]:
    batch, heads, queries, _ = query.shape
    context = query.new_empty(batch, queries, heads, value.shape[3], dtype=torch.float32).transpose(1, 2)
    return context, query.new_empty(batch, heads, queries, dtype=torch.float32)


@torch.library.custom_op("regard::attention_backward", mutates_args=(), device_types="cpu")
def backward_operator(
    gradient: Tensor,
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
    found = _backward(gradient, query, key, value, bounds, context, logsumexp, scale, dropout, int(seed))
    return found[0].contiguous(), found[1].contiguous(), found[2].contiguous()


@backward_operator.register_fake
def _(
    gradient: Tensor,
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


def _derive(ctx: Any, gradient: Tensor, _: Tensor) -> tuple[Tensor | None, ...]:
    query, key, value, bounds, context, logsumexp, seed = ctx.saved_tensors
    found = backward_operator(gradient, query, key, value, bounds, context, logsumexp, *ctx.options, seed)
    return *found, None, None, None, None


forward_operator.register_autograd(_derive, setup_context=_keep)
