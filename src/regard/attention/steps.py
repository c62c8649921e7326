"""The four steps of attention on a whole call or any block of it: what the backends in plain torch share."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import LoweredMask
from regard.attention.place import Place
from regard.attention.random import keep_all


@dataclass(frozen=True, eq=False)
class Inputs:
    """A call's tensors, widened, cleaned of what nobody may see, and projected by its score."""

    query: Float[Tensor, "batch heads queries width"]
    key: Float[Tensor, "batch kv_heads keys width"]
    value: Float[Tensor, "batch kv_heads keys value_dim"]
    mask: LoweredMask | None  # None also where every pair is allowed


def prepare(call: Call) -> Inputs:
    """What is done once a call, in O(n)."""
    query, key, value, mask = clean(call)
    query, key = call.score.project(query, key, call.prepared)
    return Inputs(query, key, value, mask)


def clean(call: Call) -> tuple[Tensor, Tensor, Tensor, LoweredMask | None]:
    """A call's tensors not yet projected; 16-bit inputs are computed in float32 and rounded once, at the end."""
    query, key, value = (
        tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in (call.query, call.key, call.value)
    )
    mask = None if call.lowered_mask is None or call.lowered_mask.everything else call.lowered_mask
    if mask is not None:
        # What no query may see (padding, be it NaN) and queries that see nothing must reach neither results nor
        # gradients, also not those of a score's projections.
        query = query.masked_fill(~mask.rows, 0.0)
        seen = mask.seen(key.shape[1])
        key, value = key.masked_fill(~seen, 0.0), value.masked_fill(~seen, 0.0)
    return query, key, value, mask


def repeated(
    key: Float[Tensor, "batch kv_heads keys width"],
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    groups: int,
    hidden: Bool[Tensor, "rows heads_or_1 keys 1"] | None,
) -> tuple[Float[Tensor, "batch heads keys width"], Float[Tensor, "batch heads keys value_dim"]]:
    """The key and value heads, once for each query head that reads them; what all of a head's queries may not see is
    zero in it, also where another head of the group may."""
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        if hidden is not None and hidden.shape[1] > 1:
            key, value = key.masked_fill(hidden, 0.0), value.masked_fill(hidden, 0.0)
    return key, value


def drop(
    weights: Float[Tensor, "batch heads queries keys"], call: Call, place: Place
) -> Float[Tensor, "batch heads queries keys"]:
    """The weights that the call's dropout keeps, scaled."""
    if call.dropout == 0.0:
        return weights
    return weights * keep_all(call.seed, call.dropout, place) / (1.0 - call.dropout)


def weigh(
    weights: Float[Tensor, "batch heads queries keys"],
    value: Float[Tensor, "batch heads keys value_dim"],
    allowed: Bool[Tensor, "rows heads_or_1 queries_or_1 keys"] | None,
) -> Float[Tensor, "batch heads queries value_dim"]:
    """`weights @ value`, in which a value that is NaN or infinite reaches only the queries that may see it."""
    if allowed is None or torch.compiler.is_compiling() or value.detach().sum().isfinite():
        return weights @ value
    finite = value.isfinite()
    context = weights @ value.masked_fill(~finite, 0.0)
    for key in (~finite).any(-1).any(1).any(0).nonzero().flatten().tolist():
        sees = allowed.expand(*allowed.shape[:3], value.shape[-2])[..., key, None]
        strange = value[..., key, None, :].masked_fill(finite[..., key, None, :], 0.0)
        context = context + weights[..., key, None] * torch.where(sees, strange, 0.0)
    return context
