"""What an explanation says: how much of some queries comes from each key."""

from dataclasses import dataclass
from html import escape

import torch
from jaxtyping import Float
from torch import Tensor

EXACT = 1e-4  # of missing weight is what rounding leaves


@dataclass(frozen=True, eq=False)
class Attribution:
    """How much of some queries comes from each key.

    Where it was taken from records that hold only the strongest weights, each entry is a bound: the true one is at
    least as large, and larger by at most what its query misses.
    """

    method: str
    queries: tuple[int, ...]  # whose rows these are
    weights: Float[Tensor, "batch queries keys"]
    missing: Float[Tensor, "batch queries"]

    @property
    def exact(self) -> bool:
        """Whether nothing is missing but what rounding leaves."""
        return bool((self.missing <= EXACT).all())

    def top(self, k: int, *, row: int = 0) -> list[list[tuple[int, float]]]:
        """The `k` keys of most weight for each query of a batch row, with their weights; ties to the lower key."""
        weights, keys = self.weights[row].sort(dim=-1, descending=True, stable=True)
        return [
            list(zip(of_query[:k], weight[:k], strict=True))
            for of_query, weight in zip(keys.tolist(), weights.tolist(), strict=True)
        ]

    def __repr__(self) -> str:
        batch, queries, keys = self.weights.shape
        bound = "exact" if self.exact else f"each at least this, and at most {self.missing.max():.3f} more"
        return f"Attribution({self.method}: {batch} x {queries} queries x {keys} keys, {bound})"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{query}</th><td>{', '.join(f'{key}: {weight:.3f}' for key, weight in found)}</td></tr>"
            for query, found in zip(self.queries, self.top(5), strict=True)
        )
        head = "<tr><th>query</th><th>strongest keys</th></tr>"
        return f"<table><caption>{escape(repr(self))}</caption>{head}{rows}</table>"


def one_hot(queries: tuple[int, ...], batch: int, size: int, like: Tensor) -> Float[Tensor, "batch queries size"]:
    """The rows of the identity that belong to some queries, in at least float32; they may count from the end.

    Raises:
        ValueError: for a query that is not among them.
    """
    wrong = [query for query in queries if not -size <= query < size]
    if wrong:
        raise ValueError(f"there is no query {wrong[0]}: there are {size}, counted from 0")
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    rows = torch.zeros(len(queries), size, device=like.device, dtype=dtype)
    rows[range(len(queries)), [query % size for query in queries]] = 1.0
    return rows.expand(batch, -1, -1)
