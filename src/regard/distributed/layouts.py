"""How a sequence lies on the ranks of a group: which of its positions each rank holds."""

from dataclasses import dataclass

from regard.attention.place import Ranges


@dataclass(frozen=True)
class Layout:
    """Base of all layouts: each position of `length` is held by one rank, which has them in rising order."""

    length: int

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"{type(self).__name__} needs a length >= 0, got {self.length}")

    def ranges(self, rank: int, ranks: int) -> Ranges:
        """The positions of a rank of so many, as half-open ranges in rising order; none where it holds nothing."""
        raise NotImplementedError(f"{type(self).__name__} does not define ranges()")

    def size(self, rank: int, ranks: int) -> int:
        """How many positions a rank of so many holds."""
        return sum(high - low for low, high in self.ranges(rank, ranks))

    def check(self, ranks: int) -> None:
        """Raise ValueError if this layout was built for another number of ranks."""


@dataclass(frozen=True)
class Contiguous(Layout):
    """Rank after rank: `ceil(length / ranks)` positions each, and one less from some rank on; or as `sizes` says.

    Args:
        length: positions of the whole sequence.
        sizes: how many of them each rank holds.
    """

    sizes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sizes is not None and (sum(self.sizes) != self.length or min(self.sizes, default=0) < 0):
            raise ValueError(f"Contiguous has sizes {self.sizes}, which do not add up to its length, {self.length}")

    def ranges(self, rank: int, ranks: int) -> Ranges:
        if self.sizes is None:
            return _filled(_piece(self.length, rank, ranks))
        low = sum(self.sizes[:rank])
        return _filled((low, low + self.sizes[rank]))

    def check(self, ranks: int) -> None:
        if self.sizes is not None and len(self.sizes) != ranks:
            raise ValueError(f"{self!r} has {len(self.sizes)} sizes, but the group has {ranks} ranks")


@dataclass(frozen=True)
class ZigZag(Layout):
    """One piece from the front and one from the back: with a causal mask every rank has as much to do as any other.

    The sequence is cut into `2 ranks` pieces, of which rank r holds number r and number `2 ranks - 1 - r`.
    """

    def ranges(self, rank: int, ranks: int) -> Ranges:
        first, last = (_piece(self.length, number, 2 * ranks) for number in (rank, 2 * ranks - 1 - rank))
        if first[1] == last[0]:  # the last rank's two are neighbours
            return _filled((first[0], last[1]))
        return _filled(first, last)


def _piece(length: int, number: int, count: int) -> tuple[int, int]:
    """The ends of one of `count` pieces whose lengths differ by one at most, as `torch.tensor_split` cuts them."""
    each, more = divmod(length, count)
    low = number * each + min(number, more)
    return low, low + each + (number < more)


def _filled(*ranges: tuple[int, int]) -> Ranges:
    return tuple((low, high) for low, high in ranges if low < high)
