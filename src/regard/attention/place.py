"""Where the queries of one call stand among its keys."""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Int
from torch import Tensor


@dataclass(frozen=True, eq=False, kw_only=True)
class Place:
    """The sizes of a call and its positions: query i stands at key `i + offset`.

    `offset` is an int, or an integer tensor with one entry per batch row. Where documents are packed into
    a row (`Documents`), positions restart: `stand` then counts from the first key of the query's document.
    """

    batch: int
    heads: int
    queries: int
    keys: int
    offset: int | Int[Tensor, " batch"] = 0
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    documents: "Int[Tensor, 'rows queries'] | None" = None  # first key less first query of each query's document
    origins: "Int[Tensor, 'rows queries'] | None" = None  # first key of each query's document

    @cached_property
    def stand(self) -> Int[Tensor, "rows 1 queries"]:
        """The key at which each query stands; rows is 1 where all batch rows agree."""
        stand = torch.arange(self.queries, device=self.device).view(1, 1, -1)
        offset = self.offset
        if isinstance(offset, Tensor):
            stand = stand + offset.to(self.device).view(-1, 1, 1)
        elif offset:
            stand = stand + offset
        return stand if self.documents is None else stand + self.documents.unsqueeze(1)

    @cached_property
    def origin(self) -> Int[Tensor, "rows 1 queries"]:
        """The key at which positions begin to count: 0, or the first key of the query's document."""
        if self.origins is None:
            return torch.zeros(1, 1, 1, dtype=torch.int64, device=self.device)
        return self.origins.unsqueeze(1)

    @cached_property
    def key_index(self) -> Int[Tensor, " keys"]:
        return torch.arange(self.keys, device=self.device)
