"""Softmax attention by the native kernels, forward and backward, as torch sees it.

Eager calls go through `autograd.Function`, which costs little; the operators of `torch.library` are the same two
functions for graphs (`torch.compile`), in `ops.attention_graph`.
"""

from typing import Any

import torch
from torch import Tensor

from regard.ops.columns import empty_beside
from regard.ops.following import followed
from regard.ops.native import TYPES, module
from regard.ops.once import Once

Constants = tuple[Any, ...]
EVERY_KEY = (0, 0, 0, 0, 0)  # bounds that there are not


def floats() -> dict[str, Any]:
    """What a kernel writes to, whatever torch's defaults are."""
    return {"dtype": torch.float32, "device": "cpu"}


def attention_and_logsumexp(
    query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float, dropout: float, seed: int | Tensor
) -> tuple[Tensor, Tensor]:
    """`softmax(scale * query key') value` over the keys that `bounds` allow, and the log-sum-exp of those scores.

    Both are in float32, and have gradients. The log-sum-exp of a query that sees nothing is -inf.

    Args:
        query: `(batch, heads, queries, width)`, in float32 or bfloat16, strided in any way.
        key: `(batch, kv_heads, keys, width)`.
        value: `(batch, kv_heads, keys, value_width)`.
        bounds: int64 `(batch, heads, queries, m, 2)`, of which the first three may be 1: m (one or two) disjoint
            half-open intervals of keys for each query. None: every key.
        scale: factor of the scores.
        dropout: probability of dropping a weight, by the contract of `regard.ops.random`.
        seed: of that contract; a tensor in a graph.

    Returns:
        `(batch, heads, queries, value_width)`, laid out (batch, queries, heads, value_width), and
        `(batch, heads, queries)`.
    """
    if followed(query, key, value):
        # The first graph registers the operators, and not `import regard`, which it would slow down.
        from regard.ops.attention_graph import forward_operator

        given = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)
        return forward_operator(query, key, value, bounds, scale, dropout, given)
    assert not isinstance(seed, Tensor)
    bounds = contiguous_pairs(bounds)
    found: tuple[Tensor, Tensor] = _Attention.apply(
        query, key, value, bounds, constants(query, key, value, bounds, scale, dropout, seed)
    )
    return found


def constants(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    bounds: Tensor | None,
    scale: float,
    dropout: float,
    seed: int,
) -> Constants:
    """What of a call is the same for all tensors of these sizes, as csrc/bindings/module.cpp reads it."""
    batch, heads, queries, width = query.shape
    intervals: tuple[int, ...] = EVERY_KEY
    if bounds is not None:
        strides = (stride if size > 1 else 0 for size, stride in zip(bounds.shape[:3], bounds.stride(), strict=False))
        intervals = (bounds.data_ptr(), *strides, bounds.shape[3])
    return (
        TYPES[query.dtype],
        scale,
        seed & 0xFFFFFFFFFFFFFFFF,
        round(dropout * 2**32),
        1.0 / (1.0 - dropout),
        (batch, heads, key.shape[1], queries, key.shape[2], width, value.shape[3]),
        intervals,
    )


def contiguous_pairs(bounds: Tensor | None) -> Tensor | None:
    """The kernels take the last two dimensions, an interval's ends, as contiguous, and the others as they are."""
    return bounds if bounds is None or bounds.stride()[-2:] == (2, 1) else bounds.contiguous()


def run(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, given: Constants) -> Tensor:
    """An eager call whose `constants` are known; `bounds` are those in them, kept for as long as they are needed."""
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        context: Tensor = _Attention.apply(query, key, value, bounds, given)[0]
    else:
        context, _ = forward_pass(query, key, value, given, keep=False)
    return context if query.dtype == torch.float32 else context.to(query.dtype)


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, given: Constants
    ) -> tuple[Tensor, Tensor | None]:
        context, logsumexp = forward_pass(query, key, value, given, keep=True)
        ctx.save_for_backward(query, key, value, context, logsumexp)
        ctx.bounds, ctx.given = bounds, given
        ctx.set_materialize_grads(False)
        return context, logsumexp

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None, of_logsumexp: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, context, logsumexp = ctx.saved_tensors
        found = backward_pass(gradient, of_logsumexp, query, key, value, context, logsumexp, ctx.given)
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            found = tuple(Once.apply("native", tensor, query, key, value) for tensor in found)
        return *found, None, None


def where(tensor: Tensor) -> tuple[int, ...]:
    """The address and the strides of a tensor."""
    return (tensor.data_ptr(), *tensor.stride())


def forward_pass(
    query: Tensor, key: Tensor, value: Tensor, given: Constants, *, keep: bool, weight: Tensor | None = None
) -> tuple[Tensor, Tensor | None]:
    """The context, in float32, and where it is to be kept the log-sum-exp; `weight` is an additive score's."""
    batch, heads, _, queries, _, _, value_width = given[5]
    context = torch.empty(batch, queries, heads, value_width, **floats()).transpose(1, 2)
    logsumexp = torch.empty(batch, heads, queries, **floats()) if keep else None
    module().forward(
        torch.get_num_threads(),
        given,
        where(query),
        where(key),
        where(value),
        0 if weight is None else weight.data_ptr(),
        None,
        where(context),
        0 if logsumexp is None else logsumexp.data_ptr(),
    )
    return context, logsumexp


def backward_pass(
    gradient: Tensor | None,
    logsumexp_gradient: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    context: Tensor,
    logsumexp: Tensor,
    given: Constants,
    weight: Tensor | None = None,
) -> tuple[Tensor, ...]:
    """Gradients of query, key and value, and of the weight where there is one; from those of what came out of it."""
    if gradient is None:
        gradient = torch.zeros_like(context, dtype=query.dtype)
    if logsumexp_gradient is not None:
        logsumexp_gradient = logsumexp_gradient.contiguous()
    threads = torch.get_num_threads()
    plan = module().plan(threads, given[0], given[5], given[6] if weight is None else EVERY_KEY)
    kept = context, logsumexp, logsumexp_gradient
    *found, of_weight = backward_call(plan, threads, given, gradient, query, key, value, kept=kept, weight=weight)
    return (*found,) if of_weight is None else (*found, of_weight)


def backward_call(
    plan: tuple[int, int, int],
    threads: int,
    given: Constants,
    gradient: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    *,
    weight: Tensor | None,
    kept: tuple[Tensor, Tensor, Tensor | None] | None = None,
    rows: tuple[Any, ...] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """The backward pass of softmax, for which context and log-sum-exp were `kept`, or of `rows` (`ops.rows`)."""
    batch, heads, kv_heads, _, keys, width, value_width = given[5]
    parts, padded, padded_value = plan
    gradient = gradient.to(query.dtype)
    context, logsumexp, logsumexp_gradient = (None, None, None) if kept is None else kept
    if parts == 1 and query.dtype == torch.float32 and (padded, padded_value) == (width, value_width):
        query_gradient, *found = empty_beside(query, key, value)
        key_gradient, value_gradient = (tensor.unsqueeze(2) for tensor in found)
    else:
        query_gradient = torch.empty_like(query)
        key_gradient = torch.empty(batch, kv_heads, parts, keys, padded, **floats())
        value_gradient = torch.empty(batch, kv_heads, parts, keys, padded_value, **floats())
    weight_gradient = None if weight is None else torch.empty(batch, heads, parts, width, **floats())
    module().backward(
        threads,
        given,
        where(query),
        where(key),
        where(value),
        0 if weight is None else weight.data_ptr(),
        rows,
        (0, 0, 0, 0, 0) if context is None else where(context),
        where(gradient),
        0 if logsumexp is None else logsumexp.data_ptr(),
        0 if logsumexp_gradient is None else logsumexp_gradient.data_ptr(),
        where(query_gradient),
        (key_gradient.data_ptr(), *key_gradient.stride()[:4]),
        (value_gradient.data_ptr(), *value_gradient.stride()[:4]),
        0 if weight_gradient is None else weight_gradient.data_ptr(),
        parts,
        padded,
        padded_value,
    )
    of_weight = None if weight_gradient is None else weight_gradient.sum((0, 2))
    return (
        query_gradient,
        _total(key_gradient, width, key.dtype),
        _total(value_gradient, value_width, key.dtype),
        of_weight,
    )


def _total(parts: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """The sum of a gradient's parts, (batch, heads, parts, length, padded width), without what pads it."""
    whole = parts.squeeze(2) if parts.shape[2] == 1 else parts.sum(2)
    whole = whole if whole.shape[3] == width else whole[..., :width]
    return whole if dtype == torch.float32 else whole.to(dtype)
