"""Observations: reductions of the weights, taken after the normaliser and before dropout, in float32, a query head.

Each defines itself on the materialised weights of some queries, all keys wide (`of`), and says how the pieces of
several blocks of queries make a whole (`adds`): so they are exact at any length, in O(n) memory.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attention.place import Place


@dataclass(frozen=True, eq=False)
class Matrices:
    """The materialised call, or block of queries, that an observation is defined on."""

    scores: Float[Tensor, "batch heads queries keys"]
    weights: Float[Tensor, "batch heads queries keys"]
    allowed: Bool[Tensor, "rows heads_or_1 queries_or_1 keys"] | None
    place: Place

    @property
    def allowed_scores(self) -> Float[Tensor, "batch heads queries keys"]:
        """The scores, -inf where they may not be seen."""
        return self.scores if self.allowed is None else self.scores.masked_fill(~self.allowed, -torch.inf)


@dataclass(frozen=True, eq=False)
class TopKeys:
    """The strongest keys of each query, the strongest first: `keys` (-1 where there is none) and their `weights`."""

    keys: Int[Tensor, "batch heads queries k"]
    weights: Float[Tensor, "batch heads queries k"]

    def __repr__(self) -> str:
        return f"TopKeys(keys={tuple(self.keys.shape)}, weights={tuple(self.weights.shape)})"


def each(result: "Tensor | TopKeys", change: Callable[[Tensor], Tensor]) -> "Tensor | TopKeys":
    """A result whose tensors are changed alike."""
    if isinstance(result, TopKeys):
        return TopKeys(change(result.keys), change(result.weights))
    return change(result)


class Observation:
    """Base of all observations."""

    has_gradient: bool = False
    of_scores: bool = False  # whether it reads the scores, and not only the weights
    adds: bool = False  # whether what `of` gives for blocks of queries adds up; else it is laid side by side
    by_key: bool = False  # whether the last axis of the result counts the keys
    of_one_call: bool = False  # whether the result speaks of the queries of one call, and not of later ones

    @property
    def name(self) -> str:
        """The name of the result when none is given: the class's, in lower case."""
        return type(self).__name__.lower()

    def of(self, matrices: Matrices) -> "Tensor | TopKeys":
        """The definition."""
        raise NotImplementedError(f"{type(self).__name__} does not define of()")

    def check(self, place: Place) -> None:
        """Raise ValueError if this observation was built for other sizes than the call's."""


def join(pieces: "Sequence[Tensor | TopKeys]", axis: int) -> "Tensor | TopKeys":
    """One result of several, laid side by side along an axis of batch rows, heads or queries."""
    if len(pieces) == 1:
        return pieces[0]
    if isinstance(pieces[0], TopKeys):
        parts = [piece for piece in pieces if isinstance(piece, TopKeys)]
        return TopKeys(
            torch.cat([part.keys for part in parts], axis), torch.cat([part.weights for part in parts], axis)
        )
    return torch.cat(pieces, axis)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Weights(Observation):
    """All weights, `(batch, heads, queries, keys)`: O(n^2) memory, for small inputs."""

    has_gradient = True
    by_key = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries keys"]:
        return matrices.weights


@dataclass(frozen=True)
class TopK(Observation):
    """The `k` strongest keys of each query: always k wide, missing keys -1 with weight 0, ties to the lower key."""

    k: int

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopK needs k >= 1, got {self.k}")

    def of(self, matrices: Matrices) -> TopKeys:
        weights = matrices.weights.detach()
        if matrices.allowed is not None:
            weights = weights.masked_fill(~matrices.allowed, -1.0)
        k = min(self.k, weights.shape[-1])
        ranks = weights.nan_to_num(torch.inf)  # NaN stands first, as it does in a sort
        least = ranks.topk(k, dim=-1).values[..., -1:] if k else ranks
        above, equal = ranks > least, ranks == least
        # Of equal weights the first: they fill what those above leave of the k places.
        chosen = above | (equal & (equal.cumsum(-1) <= k - above.sum(-1, keepdim=True)))
        keys = chosen.nonzero()[:, -1].view(*weights.shape[:-1], k)
        ordered, order = weights.gather(-1, keys).sort(dim=-1, descending=True, stable=True)
        keys = keys.gather(-1, order)
        keys, ordered = keys.masked_fill(ordered < 0, -1), ordered.clamp_min(0.0)
        missing = (0, self.k - keys.shape[-1])
        return TopKeys(
            torch.nn.functional.pad(keys, missing, value=-1),
            torch.nn.functional.pad(ordered, missing, value=0.0),
        )


@dataclass(frozen=True)
class Entropy(Observation):
    """`-sum_j p ln p` in nats, `(batch, heads, queries)`; has a gradient."""

    has_gradient = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        weights = matrices.weights
        # 0 ln 0 = 0, and its gradient stays finite: the logarithm never sees less than the smallest normal number.
        return -(weights * weights.clamp_min(torch.finfo(weights.dtype).tiny).log()).sum(-1)


@dataclass(frozen=True)
class Received(Observation):
    """Attention received, `sum_i p[i, j]`, `(batch, heads, keys)`: the column sums; has a gradient."""

    has_gradient = True
    adds = True
    by_key = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads keys"]:
        return matrices.weights.sum(-2)


@dataclass(frozen=True)
class LogSumExp(Observation):
    """`ln sum_j exp s[i, j]` over the allowed keys, `(batch, heads, queries)`; -inf, without gradient, for none."""

    has_gradient = True
    of_scores = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        scores = matrices.allowed_scores
        empty = (scores == -torch.inf).all(-1)
        filled = scores.masked_fill(empty.unsqueeze(-1), 0.0)
        return filled.logsumexp(-1).masked_fill(empty, -torch.inf)


@dataclass(frozen=True)
class MaxScore(Observation):
    """`max_j s[i, j]` over the allowed keys, `(batch, heads, queries)`; -inf for none. What QK-clip watches."""

    of_scores = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        scores = matrices.allowed_scores.detach()
        if scores.shape[-1] == 0:
            return scores.new_full(scores.shape[:-1], -torch.inf)
        return scores.amax(-1)


@dataclass(frozen=True)
class Total(Observation):
    """`sum_j p[i, j]`, `(batch, heads, queries)`: one, but for sinks and sigmoids; has a gradient."""

    has_gradient = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        return matrices.weights.sum(-1)


@dataclass(frozen=True, eq=False)
class Mass(Observation):
    """The weight on chosen keys, `(batch, heads, queries)`; has a gradient.

    Args:
        keys: numbers of keys (`[0]` for an attention sink at the start), or booleans of shape `(keys,)` or
            `(batch, keys)`.
    """

    keys: Sequence[int] | Tensor

    has_gradient = True

    def __repr__(self) -> str:
        keys = self.keys
        return f"Mass({tuple(keys.shape) if isinstance(keys, Tensor) else list(keys)})"

    def check(self, place: Place) -> None:
        keys = torch.as_tensor(self.keys)
        if keys.dtype == torch.bool:
            if keys.shape not in ((place.keys,), (place.batch, place.keys)):
                raise ValueError(
                    f"{self!r} chooses by booleans of shape {tuple(keys.shape)}, but the call has {place.keys} keys in "
                    f"{place.batch} rows"
                )
            return
        if keys.numel() and keys.dtype.is_floating_point:
            raise TypeError(f"{self!r} chooses keys by whole numbers or booleans, not by {keys.dtype}")
        numbers = self.keys
        if isinstance(numbers, Tensor):  # while compiling, what stands in it cannot be read
            numbers = [] if torch.compiler.is_compiling() else numbers.tolist()
        if keys.ndim != 1 or any(not -place.keys <= number < place.keys for number in numbers):
            raise ValueError(f"{self!r} chooses keys that are not among the {place.keys} of the call")

    def chosen(self, place: Place) -> Bool[Tensor, "rows keys"]:
        """Whether each key is one of them; rows is 1 where all batch rows agree."""
        keys = torch.as_tensor(self.keys).to(place.device)
        if keys.dtype == torch.bool:
            return torch.atleast_2d(keys)
        chosen = torch.zeros(1, place.keys, dtype=torch.bool, device=place.device)
        chosen[:, keys.to(torch.int64)] = True
        return chosen

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        chosen = matrices.place.cut_rows(self.chosen(matrices.place)[:, None, None])
        return matrices.weights.masked_fill(~chosen, 0.0).sum(-1)


@dataclass(frozen=True)
class Distance(Observation):
    """`sum_j p |u_j - u_i| / sum_j p`, `(batch, heads, queries)`: how far a query looks, in keys; 0 for none."""

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        weights, place = matrices.weights.detach(), matrices.place
        distance = (place.key_index - place.stand.unsqueeze(-1)).abs()
        total = weights.sum(-1)
        return (weights * distance).sum(-1) / total.masked_fill(total == 0, 1.0)


@dataclass(frozen=True)
class Pooled(Observation):
    """The map at picture size, `(batch, heads, rows, columns)`: summed over keys, averaged over queries.

    Query i belongs to row `i * rows // queries`, key j to column `j * columns // keys`.
    """

    adds = True
    of_one_call = True
    rows: int
    columns: int

    def __post_init__(self) -> None:
        if self.rows < 1 or self.columns < 1:
            raise ValueError(f"Pooled needs rows >= 1 and columns >= 1, got {self.rows} and {self.columns}")

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads rows columns"]:
        weights, place = matrices.weights.detach(), matrices.place
        column = torch.arange(place.keys, device=weights.device) * self.columns // max(place.keys, 1)
        row = place.query_index * self.rows // max(place.queries, 1)
        count = torch.bincount(
            torch.arange(place.queries, device=weights.device) * self.rows // max(place.queries, 1), minlength=self.rows
        )
        narrow = weights.new_zeros(*weights.shape[:-1], self.columns).index_add_(-1, column, weights)
        pooled = weights.new_zeros(*weights.shape[:2], self.rows, self.columns).index_add_(-2, row, narrow)
        return pooled / count.clamp_min(1).unsqueeze(-1)


@dataclass(frozen=True, eq=False)
class Rows(Observation):
    """The whole weights of some queries, `(batch, heads, len(indices), keys)`, in the order of `indices`."""

    indices: Sequence[int]

    has_gradient = True
    adds = True
    of_one_call = True

    def __repr__(self) -> str:
        return f"Rows({list(self.indices)})"

    def check(self, place: Place) -> None:
        wrong = [index for index in self.indices if not -place.queries <= index < place.queries]
        if wrong:
            raise ValueError(f"{self!r} asks for query {wrong[0]}, but the call has {place.queries} queries")

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads rows keys"]:
        place, weights = matrices.place, matrices.weights
        indices = torch.tensor([index % place.queries for index in self.indices], dtype=torch.int64)
        indices = indices.to(place.device) - place.query_index[:1]  # among those of the block
        inside = (indices >= 0) & (indices < weights.shape[2])
        rows = weights.index_select(2, indices.clamp(0, max(weights.shape[2] - 1, 0)))
        return rows.masked_fill(~inside.unsqueeze(-1), 0.0)
