"""Who holds which queries and keys, and which of the others' keys the queries of a rank may see."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from regard.attention.cached import cached
from regard.attention.intervals import tidy
from regard.attention.lowering import KEPT_FORMS, LoweredMask
from regard.attention.masks import Mask
from regard.attention.padding import placed
from regard.attention.place import Place, Ranges
from regard.distributed.layouts import Layout


@dataclass(frozen=True)
class Intervals(Mask):
    """The keys that each query of a block may see, as intervals that are known already."""

    bounds: Int[Tensor, "rows heads queries m 2"]

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return self.bounds

    def allowed(self, place: Place) -> Tensor:
        return LoweredMask(self, place, self.bounds).allowed_in(place)

    def __repr__(self) -> str:
        return f"Intervals({tuple(self.bounds.shape)})"


@dataclass(frozen=True, eq=False, kw_only=True)
class Arrangement:
    """A call whose queries and keys are held by the ranks of a group.

    `place` and `mask` are those of the whole call, as if one process held all of it.
    """

    place: Place
    mask: Mask | None
    queries: Layout
    keys: Layout
    rank: int
    ranks: int

    @property
    def lengths(self) -> list[int]:
        """How many keys each rank holds."""
        return [self.keys.size(rank, self.ranks) for rank in range(self.ranks)]

    @cached
    def parts(self) -> Ranges:
        """The queries of this rank."""
        return self.queries.ranges(self.rank, self.ranks)

    @cached
    def own_bounds(self) -> tuple[Int[Tensor, "rows heads queries m 2"] | None, ...]:
        """The keys that each query of this rank may see, by ranges of queries."""
        return tuple(self.bounds(part) for part in self.parts)

    def bounds(self, part: tuple[int, int]) -> Int[Tensor, "rows heads queries m 2"] | None:
        """The keys that each query of a range may see, counted over the whole sequence; None: every key."""
        if self.mask is None:
            return None
        low, high = part
        found = self.mask.intervals(self.place.block(slice(None), slice(None), slice(low, high)))
        assert found is not None, "masks without intervals are refused before"
        return found.expand(-1, -1, high - low, -1, -1)

    def reach(self, rank: int) -> Ranges:
        """The keys that the queries of a rank may see, as ranges that hold little more."""
        found: list[tuple[int, int]] = []
        for part in self.queries.ranges(rank, self.ranks):
            bounds = self.bounds(part)
            if bounds is None:
                return ((0, self.place.keys),)
            place = replace(self.place, queries=part[1] - part[0], documents=None, origins=None)
            assert self.mask is not None
            found.extend(LoweredMask(self.mask, place, bounds).reach(place))
        return tuple(found)

    @cached
    def sources(self) -> tuple[bool, ...]:
        """For each number of steps around the ring: whether this rank needs the keys of the rank so many before it."""
        own = self.reach(self.rank)
        return tuple(self._meet(own, (self.rank - step) % self.ranks) for step in range(self.ranks))

    @cached
    def targets(self) -> tuple[bool, ...]:
        """For each number of steps around the ring: whether the rank so many after this one needs its keys."""
        return tuple(self._meet(self.reach((self.rank + step) % self.ranks), self.rank) for step in range(self.ranks))

    def _meet(self, reach: Ranges, source: int) -> bool:
        held = self.keys.ranges(source, self.ranks)
        return any(low < end and start < high for low, high in reach for start, end in held)

    def within(
        self, bounds: Int[Tensor, "rows heads queries m 2"] | None, keys: tuple[int, int]
    ) -> tuple[bool, Intervals | None]:
        """Of a range of keys, counted from its first, what queries with these bounds see: anything; and which."""
        low, high = keys
        if bounds is None:
            return True, None
        inside = tidy(bounds - low, high - low)
        return bool((inside[..., 0] < inside[..., 1]).any()), Intervals(inside)

    def block_place(self, queries: tuple[int, int], keys: tuple[int, int]) -> Place:
        """The place of a range of queries among a range of keys: positions count from the first of these."""
        low, high = queries
        documents = None if self.place.documents is None else self.place.documents[:, low:high]
        return replace(
            self.place,
            queries=high - low,
            keys=keys[1] - keys[0],
            offset=self.place.offset + low - keys[0],
            documents=documents,
            origins=None,
        )


def arrange(place: Place, mask: Mask | None, queries: Layout, keys: Layout, rank: int, ranks: int) -> Arrangement:
    """The arrangement of a call; that of a mask which several layers share is made once.

    It is kept with the mask, for as long as it lives.
    """

    def made() -> Arrangement:
        whole = placed(place, mask)
        for part in mask.parts() if mask is not None else ():
            part.check(whole)
        return Arrangement(place=whole, mask=mask, queries=queries, keys=keys, rank=rank, ranks=ranks)

    if mask is None or isinstance(place.offset, Tensor):
        return made()
    kept: dict[tuple[object, ...], Arrangement] = mask.__dict__.setdefault("_arranged", {})
    # Tensors made in inference mode cannot be used in training: the two modes keep their own.
    modes = torch.is_inference_mode_enabled()
    key = (place.batch, place.heads, place.offset, place.device, queries, keys, rank, ranks, modes)
    if key not in kept:
        arrangement = made()
        if len(kept) >= KEPT_FORMS:
            kept.pop(next(iter(kept)))
        kept[key] = arrangement
    return kept[key]
