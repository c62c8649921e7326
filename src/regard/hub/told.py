"""A mask that was told: the keys that each query was found to see, as intervals."""

from jaxtyping import Bool, Int
from torch import Tensor

from regard.attention import intervals as sets
from regard.attention.masks import Mask
from regard.attention.place import Place


class Told(Mask):
    """The keys `[low, high)` that each query of one call sees; positions and offsets of the call do not move them.

    Args:
        bounds: `(rows, heads, queries, m, 2)`, disjoint and rising; rows, heads and queries may be 1.
        queries, keys: of the call.
    """

    def __init__(self, bounds: Int[Tensor, "rows heads queries m 2"], queries: int, keys: int) -> None:
        self.bounds, self.queries, self.keys = bounds, queries, keys

    def __repr__(self) -> str:
        return f"Told({self.queries} queries, {self.keys} keys)"

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        return None if self.bounds.shape[0] == 1 else self.bounds.shape[0], self.queries, self.keys

    def check(self, place: Place) -> None:
        batch, queries, keys = self.sizes()
        if (place.queries, place.keys) != (queries, keys) or batch not in (None, place.batch):
            raise ValueError(
                f"the mask was told for {batch or 'any'} rows, {queries} queries and {keys} keys, and the call has "
                f"{place.batch}, {place.queries} and {place.keys}"
            )

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return place.cut_keys(sets.contains(place.cut_rows(self.intervals(place)), self.keys))

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return self.bounds.to(place.device)
