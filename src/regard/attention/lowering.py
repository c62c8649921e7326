"""Lowering: what a call means to a fused kernel.

Every score that can be fused becomes one of two primitives, and every mask at most two disjoint intervals of
keys a query, or, beyond that, a dense boolean tensor. So few kernels serve all of them, and their cost follows
what is allowed.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attention import intervals as sets
from regard.attention.masks import Mask
from regard.attention.place import Place

MOST_INTERVALS = 2
KEPT_FORMS = 4  # sizes a mask remembers: a decoder's and an encoder's, in training and in validation


@dataclass(frozen=True, eq=False)
class DotScores:
    """`s = softcap(scale * query . key) + bias`, on queries and keys as transformed by the score."""

    query: Float[Tensor, "batch heads queries width"]
    key: Float[Tensor, "batch kv_heads keys width"]
    scale: float = 1.0
    softcap: float | None = None
    bias: Float[Tensor, "rows heads_or_1 queries_or_1 keys_or_1"] | None = None

    def plus(self, bias: Tensor) -> "DotScores":
        return replace(self, bias=bias if self.bias is None else self.bias + bias)


@dataclass(frozen=True, eq=False)
class AdditiveScores:
    """`s = weight[h] . tanh(query + key) + bias`, on projected queries and keys."""

    query: Float[Tensor, "batch heads queries hidden"]
    key: Float[Tensor, "batch kv_heads keys hidden"]
    weight: Float[Tensor, "heads hidden"]
    bias: Float[Tensor, "rows heads_or_1 queries_or_1 keys_or_1"] | None = None

    def plus(self, bias: Tensor) -> "AdditiveScores":
        return replace(self, bias=bias if self.bias is None else self.bias + bias)


Lowered = DotScores | AdditiveScores


@dataclass(frozen=True, eq=False)
class LoweredMask:
    """The keys each query may attend to: `bounds` (at most two intervals) or, where those do not do, `dense`."""

    place: Place
    bounds: Int[Tensor, "rows heads queries m 2"] | None = None
    dense: Bool[Tensor, "rows heads queries keys"] | None = None

    @cached_property
    def allowed(self) -> Bool[Tensor, "rows heads queries keys"]:
        """As a boolean tensor whose dimensions of size 1 broadcast."""
        if self.dense is not None:
            return self.dense
        assert self.bounds is not None
        return sets.contains(self.bounds, self.place.keys)

    @cached_property
    def everything(self) -> bool:
        """Whether every query may see every key, so that the mask can be left out."""
        if self.bounds is None:
            return bool(self.allowed.all())
        return bool(((self.bounds[..., 0, 0] == 0) & (self.bounds[..., 0, 1] == self.place.keys)).all())

    @cached_property
    def rows(self) -> Bool[Tensor, "rows heads queries 1"]:
        """Whether a query may see anything."""
        return self.allowed.any(-1, keepdim=True)

    @cached_property
    def columns(self) -> Bool[Tensor, "rows heads keys 1"]:
        """Whether any query may see a key."""
        return self.allowed.any(-2).unsqueeze(-1)

    def seen(self, kv_heads: int) -> Bool[Tensor, "rows kv_heads_or_1 keys 1"]:
        """Whether any query may see a key, from any of the heads that share it."""
        seen = self.columns
        return seen if seen.shape[1] == 1 else seen.unflatten(1, (kv_heads, -1)).any(2)

    def describe(self) -> str:
        """One line for people: the form, and the share of pairs that are allowed."""
        share = f"{self.allowed.float().mean().item():.0%} of the pairs allowed"
        if self.bounds is None:
            return f"a dense mask ({share})"
        count = self.bounds.shape[-2]
        return f"{count} interval{'s' if count > 1 else ''} of keys a query ({share})"


def lower_mask(mask: Mask, place: Place) -> LoweredMask:
    """Lower `mask` at `place`; a mask that several layers share is lowered once.

    Intervals are kept with the mask, for as long as it lives; a dense form is not worth its memory.
    """
    if isinstance(place.offset, Tensor):
        return _lower(mask, place)
    kept: dict[tuple[object, ...], LoweredMask] = mask.__dict__.setdefault("_lowered", {})
    # Tensors made in inference mode cannot be used in training: the two modes keep their own.
    inference = torch.is_inference_mode_enabled()
    key = (place.batch, place.heads, place.queries, place.keys, place.offset, place.device, inference)
    if key in kept:
        return kept[key]
    lowered = _lower(mask, place)
    if lowered.bounds is not None:
        if len(kept) >= KEPT_FORMS:
            kept.pop(next(iter(kept)))
        kept[key] = lowered
    return lowered


def _lower(mask: Mask, place: Place) -> LoweredMask:
    bounds = mask.intervals(place)
    if bounds is not None and bounds.shape[-2] <= MOST_INTERVALS:
        return LoweredMask(place, bounds=bounds)
    return LoweredMask(place, dense=mask.allowed(place))
