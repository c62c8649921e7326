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

        Always of a whole call.
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


class Blocks(Mask):
    """Positions in blocks of `size`: a query sees the keys of its own block, or of those that `layout` names.

    Args:
        size: positions of a block; the last one may be cut short.
        layout: boolean, `(query blocks, key blocks)` or `(heads, query blocks, key blocks)`: whether a query whose
            place is in the one block may see the other's keys (Zaheer et al. 2020, BigBird). Its own block only
            when not given (Qiu et al. 2020).
    """

    def __init__(self, size: int, layout: Tensor | None = None) -> None:
        if size < 1:
            raise ValueError(f"Blocks needs a size >= 1, got {size}")
        if layout is not None and (layout.dtype != torch.bool or layout.ndim not in (2, 3)):
            raise TypeError(
                "Blocks takes a boolean layout, (query blocks, key blocks) or (heads, query blocks, key blocks), "
                f"got {layout.dtype} of shape {tuple(layout.shape)}"
            )
        self.size, self.layout = size, layout

    def __repr__(self) -> str:
        return f"Blocks({self.size}{'' if self.layout is None else f', layout={tuple(self.layout.shape)}'})"

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        if self.layout is None:
            return None, None, None
        return None, self.layout.shape[-2] * self.size, self.layout.shape[-1] * self.size

    def check(self, place: Place) -> None:
        if self.layout is None:
            return
        last = place.queries - 1 + (place.offset if isinstance(place.offset, int) else 0)
        wanted = (last // self.size + 1, -(-place.keys // self.size))
        if self.layout.ndim == 3 and self.layout.shape[0] not in (1, place.heads):
            raise ValueError(f"{self!r} has {self.layout.shape[0]} heads, but the call has {place.heads}")
        if any(have < want for have, want in zip(self.layout.shape[-2:], wanted, strict=True)):
            raise ValueError(
                f"{self!r} has {tuple(self.layout.shape[-2:])} blocks of {self.size}, but the call reaches {wanted}: "
                f"{place.queries} queries at offset {place.offset} and {place.keys} keys"
            )

    def _edges(self, place: Place) -> tuple[Tensor, Tensor]:
        """The keys of each query's own block; blocks are counted anew in each packed document."""
        low = place.origin + (place.stand - place.origin).div(self.size, rounding_mode="floor") * self.size
        return low, low + self.size

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        if self.layout is None:
            low, high = self._edges(place)
            return (place.key_index >= low.unsqueeze(-1)) & (place.key_index < high.unsqueeze(-1))
        layout = self.layout.to(place.device)
        layout = layout.unsqueeze(0) if layout.ndim == 2 else layout
        layout = layout if layout.shape[0] == 1 else layout[place.head_slice]
        head = torch.arange(len(layout), device=place.device).view(1, -1, 1, 1)
        query, key = (
            (at - place.origin.unsqueeze(-1)).div(self.size, rounding_mode="floor")
            for at in (place.stand.unsqueeze(-1), place.key_index)
        )
        inside = (query >= 0) & (query < layout.shape[1]) & (key >= 0) & (key < layout.shape[2])
        return layout[head, query.clamp(0, layout.shape[1] - 1), key.clamp(0, layout.shape[2] - 1)] & inside

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"] | None:
        return interval(*self._edges(place), place) if self.layout is None else None


class Dense(Mask):
    """Any mask at all: a boolean tensor that broadcasts to `(batch, heads, queries, keys)`; O(n^2) memory."""

    def __init__(self, tensor: Tensor) -> None:
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool:
            given = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(
                f"Dense takes a boolean tensor where True means 'may attend', got {given}; "
                "a tensor that is added to the scores is a term: score=regard.ScaledDot() + regard.Bias(tensor)"
            )
        self.tensor = tensor

    def __repr__(self) -> str:
        return f"Dense({tuple(self.tensor.shape)})"

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        batch, _, queries, keys = (None if size == 1 else size for size in ((1,) * 4 + tuple(self.tensor.shape))[-4:])
        return batch, queries, keys

    def check(self, place: Place) -> None:
        full = (place.batch, place.heads, place.queries, place.keys)
        shape = (1,) * (4 - self.tensor.ndim) + tuple(self.tensor.shape)
        if len(shape) != 4 or any(size not in (1, whole) for size, whole in zip(shape, full, strict=True)):
            raise ValueError(
                f"{self!r} does not broadcast to (batch, heads, queries, keys) = {full}; "
                "a mask per batch row and key is regard.Dense(tensor[:, None, None, :])"
            )

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        tensor = self.tensor.to(place.device)
        tensor = tensor.view((1,) * (4 - tensor.ndim) + tuple(tensor.shape))
        return place.cut(tensor.expand(*tensor.shape[:3], place.keys))
