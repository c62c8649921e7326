"""Who holds which queries and keys, and which of the others' keys the queries of a rank may see."""

from dataclasses import dataclass, replace

from jaxtyping import Int
from torch import Tensor

from regard.attention.intervals import tidy
from regard.attention.lowering import LoweredMask
from regard.attention.masks import Mask
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

    def sources(self) -> tuple[bool, ...]:
        """For each number of steps around the ring: whether this rank needs the keys of the rank so many before it."""
        own = self.reach(self.rank)
        return tuple(self._meet(own, (self.rank - step) % self.ranks) for step in range(self.ranks))

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
