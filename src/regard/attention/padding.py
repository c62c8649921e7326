"""Masks of rows that hold several lengths: padding, and documents packed end to end."""

from dataclasses import replace

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from regard.attention.masks import And, Causal, Mask, interval
from regard.attention.place import Place


def _integers(values: Tensor | list[int] | list[list[int]] | tuple[int, ...], name: str) -> Int[Tensor, "..."]:
    tensor = torch.as_tensor(values).clone()  # a mask is a value: later writes to the caller's tensor must not reach it
    if tensor.dtype.is_floating_point or tensor.dtype == torch.bool:
        raise TypeError(f"{name} are counts of keys: pass integers, not {tensor.dtype}")
    if not torch.compiler.is_compiling() and tensor.numel() and int(tensor.min()) < 0:
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

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        return len(self.lengths), None, int((self.start + self.lengths).max()) if len(self.lengths) else 0

    def check(self, place: Place) -> None:
        if self.lengths.shape[0] != place.batch:
            raise ValueError(f"{self!r} has {len(self.lengths)} lengths, but the batch has {place.batch} rows")
        if torch.compiler.is_compiling():  # what stands in the tensor cannot be looked at
            return
        longest = int((self.start + self.lengths).max()) if place.batch else 0
        if longest > place.keys:
            raise ValueError(f"{self!r} reaches key {longest}, but there are only {place.keys} keys")

    def _edges(self, place: Place) -> tuple[Tensor, Tensor]:
        low, length = (place.cut_rows(side.to(place.device).view(-1, 1, 1)) for side in (self.start, self.lengths))
        return low, low + length

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        low, high = self._edges(place)
        return (place.key_index >= low.unsqueeze(-1)) & (place.key_index < high.unsqueeze(-1))

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        return interval(*self._edges(place), place)


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

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        rows = len(self.lengths)
        return None if rows == 1 else rows, int(self.lengths[0].sum()), int(self.key_lengths[0].sum())

    def check(self, place: Place) -> None:
        if self.lengths.shape[0] not in (1, place.batch):
            raise ValueError(f"{self!r} has {len(self.lengths)} rows, but the batch has {place.batch}")
        if torch.compiler.is_compiling():  # what stands in the tensors cannot be looked at
            return
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

    def positions(self, queries: int) -> Int[Tensor, "rows queries"]:
        """Where each of so many queries stands in its document, from 0."""
        return torch.arange(queries, device=self.lengths.device) - self.edges(queries)[0]

    def edges(self, queries: int) -> tuple[Int[Tensor, "rows queries"], ...]:
        """For each query: the first query, the first key and the end of the keys of its document."""
        ends, key_ends = self.lengths.cumsum(-1), self.key_lengths.cumsum(-1)
        document = self._numbers(self.lengths, torch.arange(queries))
        first, low, high = (
            side.gather(-1, document) for side in (ends - self.lengths, key_ends - self.key_lengths, key_ends)
        )
        return first, low, high

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        of_query = self._numbers(self.lengths, torch.arange(place.queries))[:, None, :, None].to(place.device)
        of_key = self._numbers(self.key_lengths, torch.arange(place.keys))[:, None, None, :].to(place.device)
        return place.cut(of_query) == place.cut(of_key)

    @staticmethod
    def _numbers(lengths: Tensor, index: Tensor) -> Int[Tensor, "rows length"]:
        """The document in which each position lies."""
        index = index.to(lengths.device).expand(len(lengths), -1).contiguous()
        return torch.searchsorted(lengths.cumsum(-1), index, right=True)

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"]:
        low, high = (place.cut_rows(edge.unsqueeze(1).to(place.device)) for edge in self.edges(place.queries)[1:])
        return interval(low, high, place)


def placed(place: Place, mask: Mask | None) -> Place:
    """The place of a call under `mask`: positions restart in its packed documents.

    Raises:
        ValueError: two packings in one mask.
    """
    packed = [part for part in mask.parts() if isinstance(part, Documents)] if mask is not None else []
    if not packed:
        return place
    packed[0].check(place)
    if not torch.compiler.is_compiling() and any(not other.matches(packed[0]) for other in packed[1:]):
        raise ValueError(f"a mask can hold one packing, but this one holds {packed}: positions would restart twice")
    first, low, _ = (edge.to(place.device) for edge in packed[0].edges(place.queries))
    return replace(place, documents=low - first, origins=low)


def shares_keys(mask: Mask) -> bool:
    """Whether neighbouring queries see the same keys but for a few: `Causal`, `Lengths`, `Documents`, joined by `&`."""
    return all(isinstance(part, And | Causal | Lengths | Documents) for part in mask.parts())
