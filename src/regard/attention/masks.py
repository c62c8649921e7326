"""Masks: which keys a query may attend to. True means *may attend*; `&`, `|` and `~` combine them.

A mask is a value that knows no sizes and carries no offset of its own: both come with the call, as a `Place`.
It defines itself twice: `allowed` is the definition, materialised; `intervals` is the same set of keys as
half-open intervals (see `lowering`), or None where it has no such form.
"""

from collections.abc import Iterator
from dataclasses import dataclass

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
        """The allowed keys of each query as disjoint intervals, or None if this mask has no such form."""
        return None

    def parts(self) -> Iterator["Mask"]:
        """This mask and every mask inside it."""
        yield self

    def check(self, place: Place) -> None:
        """Raise ValueError if this mask was built for other sizes than the call's."""

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

    def __repr__(self) -> str:
        return f"~{self.mask!r}"


def _interval(low: Tensor, high: Tensor, place: Place) -> Int[Tensor, "rows heads queries 1 2"]:
    low, high = torch.broadcast_tensors(low, high)
    return sets.tidy(torch.stack((low, high), -1).unsqueeze(-2), place.keys)


@dataclass(frozen=True)
class Causal(Mask):
    """A query sees the key at which it stands and all before it: `j <= i + offset`."""

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        return place.key_index <= place.stand.unsqueeze(-1)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return _interval(torch.zeros_like(place.stand), place.stand + 1, place)


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
        return _interval(*self._edges(place), place)


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
        return _interval(torch.zeros_like(place.origin), place.origin + self.length, place)


def _integers(values: Tensor | list[int] | list[list[int]] | tuple[int, ...], name: str) -> Int[Tensor, "..."]:
    tensor = torch.as_tensor(values).clone()  # a mask is a value: later writes to the caller's tensor must not reach it
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
        raise TypeError(f"{name} are counts of keys: pass integers, not {tensor.dtype}")
    if tensor.numel() and int(tensor.min()) < 0:
        raise ValueError(f"{name} must be >= 0, got {int(tensor.min())}")
    return tensor.to(torch.int64)


class Lengths(Mask):
    """Padding: batch row b holds `lengths[b]` real keys, the first at `start[b]` (0 when not given).

    Right padding is `Lengths(lengths)`, left padding `Lengths(lengths, start=keys - lengths)`.
    """

    def __init__(self, lengths: Tensor | list[int], start: Tensor | list[int] | None = None) -> None:
        self.lengths = _integers(lengths, "lengths")
        self.start = torch.zeros_like(self.lengths) if start is None else _integers(start, "start")
        if self.lengths.ndim != 1 or self.start.shape != self.lengths.shape:
            raise ValueError(
                "Lengths takes one length (and one start) per batch row: expected shapes (batch,), "
                f"got lengths {tuple(self.lengths.shape)} and start {tuple(self.start.shape)}"
            )

    def __repr__(self) -> str:
        start = f", start={self.start.tolist()}" if bool(self.start.any()) else ""
        return f"Lengths({self.lengths.tolist()}{start})"

    def check(self, place: Place) -> None:
        if self.lengths.shape[0] != place.batch:
            raise ValueError(f"{self!r} has {len(self.lengths)} lengths, but the batch has {place.batch} rows")
        longest = int((self.start + self.lengths).max()) if place.batch else 0
        if longest > place.keys:
            raise ValueError(f"{self!r} reaches key {longest}, but there are only {place.keys} keys")

    def _edges(self, place: Place) -> tuple[Tensor, Tensor]:
        low = self.start.to(place.device).view(-1, 1, 1)
        return low, low + self.lengths.to(place.device).view(-1, 1, 1)

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        low, high = self._edges(place)
        return (place.key_index >= low.unsqueeze(-1)) & (place.key_index < high.unsqueeze(-1))

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return _interval(*self._edges(place), place)


class Documents(Mask):
    """Packed rows: a row is several documents laid end to end, and a query sees the keys of its own.

    `lengths` is `(documents,)` for all batch rows, or `(batch, documents)` (fill up with 0). In cross-attention
    `key_lengths` gives the keys' side; documents match by order. The sums must equal the numbers of queries and
    keys. Positions restart in each document, for every mask and term of the call.
    """

    def __init__(
        self,
        lengths: Tensor | list[int] | list[list[int]],
        key_lengths: Tensor | list[int] | list[list[int]] | None = None,
    ) -> None:
        self.lengths = torch.atleast_2d(_integers(lengths, "lengths"))
        self.key_lengths = (
            self.lengths if key_lengths is None else torch.atleast_2d(_integers(key_lengths, "key_lengths"))
        )
        if self.lengths.ndim != 2 or self.key_lengths.shape != self.lengths.shape:
            raise ValueError(
                "Documents takes (documents,) or (batch, documents) lengths, as many for the keys as for the queries; "
                f"got {tuple(self.lengths.shape)} and {tuple(self.key_lengths.shape)}"
            )

    def __repr__(self) -> str:
        rows = [side.squeeze(0).tolist() for side in (self.lengths, self.key_lengths)]
        return f"Documents({rows[0]})" if rows[0] == rows[1] else f"Documents({rows[0]}, key_lengths={rows[1]})"

    def check(self, place: Place) -> None:
        if self.lengths.shape[0] not in (1, place.batch):
            raise ValueError(f"{self!r} has {len(self.lengths)} rows, but the batch has {place.batch}")
        for side, lengths, size in (
            ("queries", self.lengths, place.queries),
            ("keys", self.key_lengths, place.keys),
        ):
            sums = lengths.sum(-1)
            if bool((sums != size).any()):
                raise ValueError(
                    f"{self!r} adds up to {sums.tolist()} {side}, but the call has {size}; "
                    "give every row lengths whose sum is the padded size (the padding can be a document of its own)"
                )

    def matches(self, other: "Documents") -> bool:
        """Whether the other packing has the same documents, so that positions restart in the same places."""
        return torch.equal(self.lengths, other.lengths) and torch.equal(self.key_lengths, other.key_lengths)

    def edges(self, queries: int) -> tuple[Int[Tensor, "rows queries"], ...]:
        """For each query: the first query, the first key and the end of the keys of its document."""
        ends, key_ends = self.lengths.cumsum(-1), self.key_lengths.cumsum(-1)
        index = torch.arange(queries, device=ends.device).expand(len(ends), -1).contiguous()
        document = torch.searchsorted(ends, index, right=True)
        first, low, high = (
            side.gather(-1, document) for side in (ends - self.lengths, key_ends - self.key_lengths, key_ends)
        )
        return first, low, high

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        number = [torch.arange(side.shape[1]).expand_as(side) for side in (self.lengths, self.key_lengths)]
        rows = range(len(self.lengths))
        of_query = torch.stack([number[0][r].repeat_interleave(self.lengths[r]) for r in rows])
        of_key = torch.stack([number[1][r].repeat_interleave(self.key_lengths[r]) for r in rows])
        return (of_query[:, None, :, None] == of_key[:, None, None, :]).to(place.device)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        _, low, high = self.edges(place.queries)
        return _interval(low.unsqueeze(1).to(place.device), high.unsqueeze(1).to(place.device), place)


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
        return tensor.expand(*tensor.shape[:3], place.keys)
