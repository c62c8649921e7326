"""Masks: which keys a query may attend to. True means *may attend*; `&`, `|` and `~` combine them.

A mask is a value that knows no sizes and carries no offset of its own: both come with the call, as a `Place`.
It defines itself twice: `allowed` is the definition, on a whole call or on any block of it; `intervals` is the
same set of keys as half-open intervals (see `lowering`), or None where it has no such form.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from regard.attention import intervals as sets
from regard.attention.place import Place


class Mask:
    """Base of all masks; see the module's text."""

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        """The definition: True where query i may attend to key j (dimensions of size 1 broadcast)."""
        raise NotImplementedError(f"{type(self).__name__} does not define allowed()")

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"] | None:
        """The allowed keys of each query as disjoint intervals, or None if this mask has no such form.

        Of a whole call, or of a part of its queries; never of a part of its keys.
        """
        return None

    def parts(self) -> Iterator["Mask"]:
        """This mask and every mask inside it."""
        yield self

    def check(self, place: Place) -> None:
        """Raise ValueError if this mask was built for other sizes than the call's."""

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        """The batch rows, queries and keys that this mask was built for; None where any will do."""
        return None, None, None

    def picture(self, queries: int | None = None, keys: int | None = None, *, offset: int = 0) -> str:
        """The mask as text: a line a query, `#` where it may see a key and `.` where it may not.

        Args:
            queries, keys: sizes to draw; those that the mask was built for, or else 12.
            offset: as in `regard.attend`.

        Raises:
            ValueError: for sizes other than those that the mask was built for.
        """
        from regard.attention.pictures import text_picture

        return text_picture(self, queries, keys, offset)

    def __str__(self) -> str:
        try:
            return f"{self!r}\n{self.picture()}"
        except ValueError as error:  # its parts were built for different sizes
            return f"{self!r}\n({error})"

    def _repr_html_(self) -> str:
        from regard.attention.pictures import svg_picture

        try:
            return svg_picture(self)
        except ValueError:  # its parts were built for different sizes
            return f"<pre>{escape(str(self))}</pre>"

    def __and__(self, other: "Mask") -> "Mask":
        return And(self, _mask(other))

    def __or__(self, other: "Mask") -> "Mask":
        return Or(self, _mask(other))

    def __invert__(self) -> "Mask":
        return Not(self)


def _mask(value: object) -> Mask:
    if isinstance(value, Mask):
        return value
    hint = (
        f"; wrap a boolean tensor: regard.Dense(tensor) (shape {tuple(value.shape)})"
        if isinstance(value, Tensor)
        else ""
    )
    raise TypeError(f"a mask combines with masks, not with {type(value).__name__}{hint}")


@dataclass(frozen=True)
class And(Mask):
    """Keys that both masks allow."""

    left: Mask
    right: Mask

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return self.left.allowed(place) & self.right.allowed(place)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"] | None:
        left, right = self.left.intervals(place), self.right.intervals(place)
        return None if left is None or right is None else sets.intersect(left, right, place.keys)

    def parts(self) -> Iterator[Mask]:
        yield self
        yield from self.left.parts()
        yield from self.right.parts()

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        return _joined(self.left, self.right)

    def __repr__(self) -> str:
        return f"({self.left!r} & {self.right!r})"


@dataclass(frozen=True)
class Or(Mask):
    """Keys that either mask allows."""

    left: Mask
    right: Mask

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return self.left.allowed(place) | self.right.allowed(place)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"] | None:
        left, right = self.left.intervals(place), self.right.intervals(place)
        return None if left is None or right is None else sets.union(left, right, place.keys)

    def parts(self) -> Iterator[Mask]:
        yield self
        yield from self.left.parts()
        yield from self.right.parts()

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        return _joined(self.left, self.right)

    def __repr__(self) -> str:
        return f"({self.left!r} | {self.right!r})"


@dataclass(frozen=True)
class Not(Mask):
    """Keys that the mask does not allow."""

    mask: Mask

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return ~self.mask.allowed(place)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"] | None:
        inner = self.mask.intervals(place)
        return None if inner is None else sets.complement(inner, place.keys)

    def parts(self) -> Iterator[Mask]:
        yield self
        yield from self.mask.parts()

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        return self.mask.sizes()

    def __repr__(self) -> str:
        return f"~{self.mask!r}"


def _joined(left: Mask, right: Mask) -> tuple[int | None, int | None, int | None]:
    batch, queries, keys = (
        max((size for size in pair if size is not None), default=None)
        for pair in zip(left.sizes(), right.sizes(), strict=True)
    )
    return batch, queries, keys


def interval(low: Tensor, high: Tensor, place: Place) -> Int[Tensor, "rows heads queries 1 2"]:
    low, high = torch.broadcast_tensors(low, high)
    return sets.tidy(torch.stack((low, high), -1).unsqueeze(-2), place.keys)


@dataclass(frozen=True)
class Causal(Mask):
    """A query sees the key at which it stands and all before it: `j <= i + offset`."""

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return place.key_index <= place.stand.unsqueeze(-1)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return interval(torch.zeros_like(place.stand), place.stand + 1, place)


@dataclass(frozen=True)
class Window(Mask):
    """A query sees `left` keys before its place, the place itself, and `right` after it (`left` if not given).

    `Causal() & Window(127)` sees 128 keys.
    """

    left: int
    right: int | None = None

    def __post_init__(self) -> None:
        for name, size in (("left", self.left), ("right", self.right)):
            if size is not None and size < 0:
                raise ValueError(f"Window counts keys beside the query's place, so {name} must be >= 0, got {size}")

    def _edges(self, place: Place) -> tuple[Tensor, Tensor]:
        right = self.left if self.right is None else self.right
        return place.stand - self.left, place.stand + right + 1

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        low, high = self._edges(place)
        return (place.key_index >= low.unsqueeze(-1)) & (place.key_index < high.unsqueeze(-1))

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return interval(*self._edges(place), place)


@dataclass(frozen=True)
class Prefix(Mask):
    """Every query sees the keys below `length` (of its document, where documents are packed).

    A prefix language model is `Causal() | Prefix(n)` (Raffel et al. 2020, figure 3).
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"Prefix needs a length >= 0, got {self.length}")

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return place.key_index < (place.origin + self.length).unsqueeze(-1)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return interval(torch.zeros_like(place.origin), place.origin + self.length, place)


@dataclass(frozen=True)
class Global(Mask):
    """The first `length` positions (of each document, where documents are packed) see all keys and are seen by all.

    `Window(256) | Global(1)` is the pattern of Longformer (Beltagy et al. 2020): what windows leave apart meets there.
    """

    length: int

    def __post_init__(self) -> None:
        if self.length < 0:
            raise ValueError(f"Global needs a length >= 0, got {self.length}")

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        end = (place.origin + self.length).unsqueeze(-1)
        return (place.key_index < end) | (place.stand.unsqueeze(-1) < end)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        end = place.origin + self.length
        return interval(torch.zeros_like(end), torch.where(place.stand < end, place.keys, end), place)


@dataclass(frozen=True)
class Strided(Mask):
    """A query sees every `stride`-th key counted from its own place, before and after it.

    `Causal() & (Window(stride - 1, 0) | Strided(stride))` is the strided pattern of the Sparse Transformer
    (Child et al. 2019).
    """

    stride: int

    def __post_init__(self) -> None:
        if self.stride < 1:
            raise ValueError(f"Strided needs a stride >= 1, got {self.stride}")

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return (place.key_index - place.stand.unsqueeze(-1)) % self.stride == 0
