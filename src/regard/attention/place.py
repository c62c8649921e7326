"""Where the queries of one call stand among its keys, and which part of the call is being computed."""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Int
from torch import Tensor

from regard.attention.cached import cached

Ranges = tuple[tuple[int, int], ...]  # half-open, rising, disjoint


@dataclass(frozen=True, eq=False, kw_only=True)
class Place:
    """The sizes of a call and its positions: query i stands at key `i + offset`.

    `offset` is an int, or an integer tensor with one entry per batch row. Where documents are packed into
    a row (`Documents`), positions restart: `stand` then counts from the first key of the query's document.

    A call can be computed a block at a time. `block` gives the place of a part: the sizes stay those of the
    call, and `stand`, `origin`, `key_index` and `cut` are of the part.
    """

    batch: int
    heads: int
    queries: int
    keys: int
    offset: int | Int[Tensor, " batch"] = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    documents: "Int[Tensor, 'rows queries'] | None" = None  # first key less first query of each query's document
    origins: "Int[Tensor, 'rows queries'] | None" = None  # first key of each query's document
    part: "tuple[slice, slice, slice] | None" = None  # batch rows, heads and queries of the block
    columns: Ranges | None = None  # keys of the block; all when None

    def block(self, rows: slice, heads: slice, queries: slice, columns: Ranges | None = None) -> "Place":
        """The place of a part of the call."""
        return replace(self, part=(rows, heads, queries), columns=columns)

    @property
    def head_slice(self) -> slice:
        """The query heads of this part."""
        return slice(None) if self.part is None else self.part[1]

    def cut(self, tensor: Tensor) -> Tensor:
        """This part of a tensor that broadcasts to `(batch, heads, queries, keys)`; sizes of 1 stay."""
        return self.cut_keys(self.cut_rows(tensor))

    def cut_rows(self, tensor: Tensor) -> Tensor:
        """This part of a tensor whose first three dimensions broadcast to `(batch, heads, queries)`."""
        for axis, chosen in enumerate(self.part or ()):
            if tensor.shape[axis] != 1:
                tensor = tensor[(slice(None),) * axis + (chosen,)]
        return tensor

    def cut_keys(self, tensor: Tensor, axis: int = -1) -> Tensor:
        """The keys of this part along `axis`; a size of 1 among more keys stays."""
        if self.columns is None or tensor.shape[axis] == 1 != self.keys:
            return tensor
        parts = [tensor.narrow(axis, low, high - low) for low, high in self.columns]
        return parts[0] if len(parts) == 1 else torch.cat(parts, axis) if parts else tensor.narrow(axis, 0, 0)

    @cached
    def query_index(self) -> Int[Tensor, " queries"]:
        """The numbers of this part's queries."""
        if self.part is None:
            return torch.arange(self.queries, device=self.device)
        start, stop = self.part[2].start or 0, self.part[2].stop
        # Not `slice.indices`, which makes numbers of the symbols of torch.export.
        return torch.arange(start, self.queries if stop is None else min(stop, self.queries), device=self.device)

    @cached
    def key_index(self) -> Int[Tensor, " keys"]:
        """The numbers of this part's keys."""
        ranges = ((0, self.keys),) if self.columns is None else self.columns
        parts = [torch.arange(low, high, device=self.device) for low, high in ranges]
        return parts[0] if len(parts) == 1 else torch.cat([torch.arange(0, device=self.device), *parts])

    @cached
    def stand(self) -> Int[Tensor, "rows 1 queries"]:
        """The key at which each query stands; rows is 1 where all batch rows agree."""
        stand = self.query_index.view(1, 1, -1)
        offset = self.offset
        if isinstance(offset, Tensor):
            stand = stand + self.cut_rows(offset.to(self.device).view(-1, 1, 1))
        elif offset:
            stand = stand + offset
        return stand if self.documents is None else stand + self.cut_rows(self.documents.unsqueeze(1))

    @cached
    def origin(self) -> Int[Tensor, "rows 1 queries"]:
        """The key at which positions begin to count: 0, or the first key of the query's document."""
        if self.origins is None:
            return torch.zeros(1, 1, 1, dtype=torch.int64, device=self.device)
        return self.cut_rows(self.origins.unsqueeze(1))
