"""The four steps of attention as plain torch, materialised: the oracle of every test, and the page to learn from.

Any dtype, any score, any mask; O(n^2) memory. 16-bit inputs are computed in float32 and rounded once.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from regard.attention.call import Call
from regard.attention.observations import Matrices, TopKeys
from regard.attention.random import keep_all


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context, and what was asked to be recorded."""
    query, key, value, allowed = _prepare(call)

    scores = call.score.matrix(query, key, call.place)  # 1. how well does each key answer each query?
    weights = call.normalize.weights(scores, allowed)  # 2. shares of one, over the keys that may be seen
    context = _weigh(_drop(weights, call), value, allowed)  # 3. the values, weighed  # 4. what comes back

    seen = {name: item.of(Matrices(scores, weights, allowed)) for name, item in call.record.items()}
    return context.to(call.query.dtype), seen


def _prepare(call: Call) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Widened, cleaned of what nobody may see, and with the key and value heads repeated for grouped queries."""
    query, key, value = (
        tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in (call.query, call.key, call.value)
    )
    mask = None if call.lowered_mask is None or call.lowered_mask.everything else call.lowered_mask
    kv_heads, groups = key.shape[1], call.place.heads // key.shape[1]
    if mask is not None:
        # What no query may see (padding, be it NaN) and queries that see nothing must reach neither results nor
        # gradients, also not those of a score's projections.
        query = query.masked_fill(~mask.rows, 0.0)
        key, value = (tensor.masked_fill(~mask.seen(kv_heads), 0.0) for tensor in (key, value))
    if not call.prepared:
        key = call.score.prepare(key).keys
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        if mask is not None and mask.columns.shape[1] > 1:  # heads that share a key may hide it differently
            key, value = (tensor.masked_fill(~mask.columns, 0.0) for tensor in (key, value))
    return query, key, value, None if mask is None else mask.allowed


def _drop(weights: Float[Tensor, "batch heads queries keys"], call: Call) -> Float[Tensor, "batch heads queries keys"]:
    if call.dropout == 0.0:
        return weights
    kept = keep_all(call.seed, call.dropout, tuple(weights.shape), weights.device)
    return weights * kept / (1.0 - call.dropout)


def _weigh(
    weights: Float[Tensor, "batch heads queries keys"],
    value: Float[Tensor, "batch heads keys value_dim"],
    allowed: Bool[Tensor, "rows heads_or_1 queries_or_1 keys"] | None,
) -> Float[Tensor, "batch heads queries value_dim"]:
    """`weights @ value`, in which a value that is NaN or infinite reaches only the queries that may see it."""
    if allowed is None or value.detach().sum().isfinite():
        return weights @ value
    finite = value.isfinite()
    context = weights @ value.masked_fill(~finite, 0.0)
    for key in (~finite).any(-1).any(1).any(0).nonzero().flatten().tolist():
        sees = allowed.expand(*allowed.shape[:3], value.shape[-2])[..., key, None]
        strange = value[..., key, None, :].masked_fill(finite[..., key, None, :], 0.0)
        context = context + torch.where(sees, weights[..., key, None] * strange, 0.0)
    return context
