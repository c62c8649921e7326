"""Lowering: what a call means to a fused kernel.

Every score that can be fused becomes one of two primitives, and every mask at most two disjoint intervals of
keys a query, or, beyond that, what its definition says of a block. So few kernels serve all of them, and their
cost follows what is allowed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attention.cached import cached
from regard.attention.masks import Mask
from regard.attention.place import Place, Ranges
from regard.attention.terms import Term

MOST_INTERVALS = 2
KEPT_FORMS = 4  # sizes a mask remembers: a decoder's and an encoder's, in training and in validation
PAIRS_AT_A_TIME = 2**22  # of a mask that has no intervals


@dataclass(frozen=True, eq=False)
class DotScores:
    """`s = softcap(scale * query . key) + row + terms`, on queries and keys as transformed by the score.

    `row` is the same for all keys of a query: weights that do not change when all scores are shifted do not need it.
    """

    query: Float[Tensor, "batch heads queries width"]
    key: Float[Tensor, "batch kv_heads keys width"]
    scale: float = 1.0
    softcap: float | None = None
    row: Float[Tensor, "batch heads queries 1"] | None = None
    terms: tuple[Term, ...] = ()

    def plus(self, term: Term) -> "DotScores":
        return replace(self, terms=(*self.terms, term))


@dataclass(frozen=True, eq=False)
class AdditiveScores:
    """`s = weight[h] . tanh(query + key) + terms`, on projected queries and keys."""

    query: Float[Tensor, "batch heads queries hidden"]
    key: Float[Tensor, "batch kv_heads keys hidden"]
    weight: Float[Tensor, "heads hidden"]
    terms: tuple[Term, ...] = ()

    def plus(self, term: Term) -> "AdditiveScores":
        return replace(self, terms=(*self.terms, term))


Lowered = DotScores | AdditiveScores


@dataclass(frozen=True, eq=False)
class LoweredMask:
    """The keys each query may attend to: `bounds` (at most two intervals), or where those do not do the definition."""

    mask: Mask
    place: Place
    bounds: Int[Tensor, "rows heads queries m 2"] | None = None

    def allowed_in(self, block: Place) -> Bool[Tensor, "rows heads queries keys"]:
        """A block of the mask, as a boolean tensor whose dimensions of size 1 broadcast."""
        if self.bounds is None:
            return self.mask.allowed(block)
        key = block.key_index
        inside = [
            (key >= bounds[..., 0, None]) & (key < bounds[..., 1, None])
            for bounds in block.cut_rows(self.bounds).unbind(-2)
        ]
        return inside[0] if len(inside) == 1 else inside[0] | inside[1]

    @cached
    def allowed(self) -> Bool[Tensor, "rows heads queries keys"]:
        """All of the mask, materialised."""
        return self.allowed_in(self.place)

    @cached
    def everything(self) -> bool:
        """Whether every query may see every key, so that the mask can be left out."""
        if torch.compiler.is_compiling():
            return False
        if self.bounds is None:
            small = self.place.queries * self.place.keys <= PAIRS_AT_A_TIME  # of a large one it is not worth asking
            return small and all(bool(allowed.all()) for _, allowed in self._blocks())
        return bool(((self.bounds[..., 0, 0] == 0) & (self.bounds[..., 0, 1] == self.place.keys)).all())

    @cached
    def rows(self) -> Bool[Tensor, "rows heads queries 1"]:
        """Whether a query may see anything."""
        if self.bounds is None:
            return torch.cat([allowed.any(-1, keepdim=True) for _, allowed in self._blocks()], -2)
        return (self.bounds[..., 0] < self.bounds[..., 1]).any(-1, keepdim=True)

    @cached
    def columns(self) -> Bool[Tensor, "rows heads keys 1"]:
        """Whether any query may see a key."""
        if self.bounds is None:
            parts = [allowed.any(-2) for _, allowed in self._blocks()]
            return torch.stack(parts).any(0).unsqueeze(-1)
        # Each interval opens at its first key and closes behind its last: what is open at a key is seen.
        edges = self.bounds.flatten(2, 3)
        change = torch.zeros(*edges.shape[:2], self.place.keys + 1, dtype=torch.int64, device=edges.device)
        ones = torch.ones_like(edges[..., 0])
        change.scatter_add_(-1, edges[..., 0], ones).scatter_add_(-1, edges[..., 1], -ones)
        return (change.cumsum(-1)[..., :-1] > 0).unsqueeze(-1)

    def seen(self, kv_heads: int) -> Bool[Tensor, "rows kv_heads_or_1 keys 1"]:
        """Whether any query may see a key, from any of the heads that share it."""
        seen = self.columns
        return seen if seen.shape[1] == 1 else seen.unflatten(1, (kv_heads, -1)).any(2)

    def reach(self, block: Place) -> Ranges:
        """The keys that a block of queries may see, as ranges that hold no more than they must."""
        if self.bounds is None:
            return ((0, self.place.keys),)
        bounds = block.cut_rows(self.bounds)
        low, high = bounds.unbind(-1)
        empty = low >= high
        lows = low.masked_fill(empty, self.place.keys).flatten(0, -2)
        highs = high.masked_fill(empty, 0).flatten(0, -2)
        if not len(lows):
            return ()
        ranges: list[tuple[int, int]] = []
        for first, last in sorted(zip(lows.amin(0).tolist(), highs.amax(0).tolist(), strict=True)):
            if first >= last:
                continue
            if ranges and first <= ranges[-1][1]:
                ranges[-1] = (ranges[-1][0], max(last, ranges[-1][1]))
            else:
                ranges.append((first, last))
        return tuple(ranges)

    def describe(self) -> str:
        """One line for people: the form, and the share of pairs that are allowed."""
        place = self.place
        pairs = max(place.queries * place.keys, 1)
        if self.bounds is None:
            blocks = [(float(allowed.float().mean()) * size, size) for size, allowed in self._blocks()]
            share = sum(count for count, _ in blocks) / max(sum(size for _, size in blocks), 1)
            return f"no intervals: its definition, a block at a time ({share:.0%} of the pairs allowed)"
        length = (self.bounds[..., 1] - self.bounds[..., 0]).clamp_min(0).sum(-1).float()
        share = float(length.mean()) * place.queries / pairs if length.numel() else 0.0
        count = self.bounds.shape[-2]
        return f"{count} interval{'s' if count > 1 else ''} of keys a query ({share:.0%} of the pairs allowed)"

    def _blocks(self) -> Iterator[tuple[int, Bool[Tensor, "rows heads queries keys"]]]:
        """The whole mask by blocks of queries, each with its number of queries."""
        place = self.place
        if torch.compiler.is_compiling():  # where sizes may be symbols
            yield place.queries, self.allowed.expand(-1, -1, place.queries, place.keys)
            return
        step = min(place.queries or 1, max(1, PAIRS_AT_A_TIME // max(1, place.batch * place.heads * place.keys)))
        for start in range(0, max(place.queries, 1), step):
            block = place.block(slice(None), slice(None), slice(start, start + step))
            allowed = self.mask.allowed(block)
            count = len(block.query_index)
            yield count, allowed.expand(*allowed.shape[:2], count, place.keys)


def lower_mask(mask: Mask, place: Place) -> LoweredMask:
    """Lower `mask` at `place`; a mask that several layers share is lowered once.

    Intervals are kept with the mask, for as long as it lives.
    """
    if torch.compiler.is_exporting():
        return LoweredMask(mask, place)  # an exported graph has its definition, which other engines know how to run
    if torch.compiler.is_compiling() or isinstance(place.offset, Tensor):
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
    return LoweredMask(mask, place, bounds if bounds is not None and bounds.shape[-2] <= MOST_INTERVALS else None)
