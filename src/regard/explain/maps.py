"""The attention of one layer, its heads averaged, as a linear map: what explanations multiply, never held whole.

Of calls that were kept the products are exact: the weights are computed once more, some queries at a time, in O(n)
memory. Of records they are as exact as the records are.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention import Observation, Received, Seen, TopK, TopKeys, Watched, Weights
from regard.attention.kept import Kept
from regard.attention.observations import Matrices

Rows = Float[Tensor, "batch some queries"]
Columns = Float[Tensor, "batch some keys"]


@dataclass(frozen=True, eq=False)
class Gradient:
    """The gradient of a target in the weights of a call: `g_i . v_j`, of its context's gradient and its values."""

    context: Float[Tensor, "batch heads queries value_dim"]
    value: Float[Tensor, "batch heads keys value_dim"]

    def positive(self, matrices: Matrices) -> Float[Tensor, "batch heads queries keys"]:
        """Weights times gradients, where positive."""
        rows, heads, _ = matrices.place.part or (slice(None),) * 3
        slopes = matrices.place.cut_rows(self.context) @ self.value[rows, heads].mT
        # Not a product: a hidden value may be NaN.
        return torch.where(matrices.weights > 0, matrices.weights * slopes, 0.0).clamp_min(0.0)


@dataclass(frozen=True, eq=False)
class Pulled(Observation):
    """`rows @ weights`, `(batch, heads, some, keys)`."""

    rows: Rows
    gradient: Gradient | None = None

    adds = True
    by_key = True
    of_one_call = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads some keys"]:
        weights = matrices.weights if self.gradient is None else self.gradient.positive(matrices)
        return matrices.place.cut_rows(self.rows.mT.unsqueeze(1)).mT @ weights


@dataclass(frozen=True, eq=False)
class Pushed(Observation):
    """`weights @ columns`, `(batch, heads, queries, some)`."""

    columns: Columns
    gradient: Gradient | None = None

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries some"]:
        weights = matrices.weights if self.gradient is None else self.gradient.positive(matrices)
        rows = slice(None) if matrices.place.part is None else matrices.place.part[0]
        return weights @ self.columns.mT.unsqueeze(1)[rows]


@dataclass(eq=False)
class KeptMap:
    """Of a call that was kept: exact. With a gradient, of the weights times their gradients, where positive."""

    kept: Kept
    gradient: Gradient | None = None

    def __post_init__(self) -> None:
        place = self.kept.call.place
        self.batch, self.queries, self.keys, self.like = place.batch, place.queries, place.keys, self.kept.context

    def pull(self, rows: Rows) -> Columns:
        """`rows @ matrix`: what the queries take from the keys."""
        return self.kept.observe(found=Pulled(rows, self.gradient))["found"].mean(1)

    def push(self, columns: Columns) -> Rows:
        """`matrix @ columns`: what the keys bring to the queries."""
        return self.kept.observe(found=Pushed(columns, self.gradient))["found"].mean(1).mT


@dataclass(eq=False)
class WholeMap:
    """Of all weights: exact."""

    weights: Float[Tensor, "batch heads queries keys"]

    def __post_init__(self) -> None:
        self.batch, _, self.queries, self.keys = self.weights.shape
        self.like = self.weights

    @cached_property
    def mean(self) -> Float[Tensor, "batch queries keys"]:
        return self.weights.detach().float().mean(1)

    def pull(self, rows: Rows) -> Columns:
        return rows @ self.mean

    def push(self, columns: Columns) -> Rows:
        return columns @ self.mean.mT


@dataclass(eq=False)
class StrongestMap:
    """Of the strongest weights alone: what it gives is at most the true product, for rows and columns above zero."""

    topk: TopKeys
    keys: int

    def __post_init__(self) -> None:
        self.batch, self.heads, self.queries, _ = self.topk.keys.shape
        self.like = self.topk.weights

    def _heads(self) -> Iterator[tuple[Tensor, Tensor]]:
        for head in range(self.heads):
            yield self.topk.keys[:, head].clamp_min(0), self.topk.weights[:, head].float() / self.heads

    def pull(self, rows: Rows) -> Columns:
        found = rows.new_zeros(*rows.shape[:2], self.keys)
        for keys, weights in self._heads():
            given = (rows.unsqueeze(-1) * weights.unsqueeze(1)).flatten(2)
            found.scatter_add_(2, keys.flatten(1).unsqueeze(1).expand_as(given), given)
        return found

    def push(self, columns: Columns) -> Rows:
        found = columns.new_zeros(*columns.shape[:2], self.queries)
        for keys, weights in self._heads():
            index = keys.flatten(1).unsqueeze(1).expand(-1, columns.shape[1], -1)
            found += (columns.gather(2, index).unflatten(2, keys.shape[1:]) * weights.unsqueeze(1)).sum(-1)
        return found


# Of (batch, queries, keys); `like` is one of its tensors: their device, and how wide they are.
Map = KeptMap | WholeMap | StrongestMap


@dataclass(frozen=True, eq=False)
class Records:
    """What a layer recorded of single weights: all of them, or the strongest."""

    seen: Seen
    topk: TopKeys
    keys: int
    whole: Tensor | None


def records_of(seen: Watched, name: str) -> Records:
    """What was recorded of a layer's single weights, the steps of decoding stitched.

    Raises:
        ValueError: nothing of the kind was recorded, or it does not tell how many keys there are.
    """
    whole = next((key for key, item in seen.observations.items() if isinstance(item, Weights)), None)
    strongest = next((key for key, item in seen.observations.items() if isinstance(item, TopK)), None)
    found = seen[name] if len(seen.calls(name)) == 1 else seen.stitched(name)
    if whole is not None:
        weights = found[whole].detach().float()
        return Records(
            found, TopKeys(torch.arange(weights.shape[-1]).expand(weights.shape), weights), weights.shape[-1], weights
        )
    if strongest is None:
        raise ValueError(
            "explanations need the calls or their weights: regard.watch(model, keep=True) for exact ones in O(n) "
            "memory, or regard.TopK(8) for bounds"
        )
    topk = found[strongest]
    # Strongest keys do not say how many there are; those of self-attention are as many as its queries.
    widths = [found[key].shape[-1] for key, item in seen.observations.items() if isinstance(item, Received)]
    keys = widths[0] if widths else topk.keys.shape[2]
    if int(topk.keys.max()) >= keys:
        raise ValueError(
            f"{name} has more keys than queries; record regard.Received() beside TopK, which tells how many"
        )
    return Records(found, topk, keys, None)


def map_of(seen: Watched, name: str) -> Map:
    """The map of a layer, from the best that there is: the call itself, all weights, the strongest.

    Raises:
        ValueError: nothing of the kind was recorded.
    """
    if seen.keeps:
        return KeptMap(only(seen, name))
    records = records_of(seen, name)
    if records.whole is not None:
        return WholeMap(records.whole)
    if "total" in records.seen and float(records.seen["total"].max()) > 1.0 + 1e-4:
        raise ValueError(f"the weights of {name} sum to more than 1, and the strongest give no bound: use keep=True")
    return StrongestMap(records.topk, records.keys)


def only(seen: Watched, name: str) -> Kept:
    """The one call under a name.

    Raises:
        ValueError: there were more.
    """
    kept = seen.kept(name)
    if len(kept) > 1:
        raise ValueError(
            f"{name} was called {len(kept)} times; run the model once on the whole sequence, also on what it generated"
        )
    return kept[0]


def layers_of(seen: Watched, patterns: str | Sequence[str] | None) -> list[str]:
    """The names of layers that fit, from the first to the last that ran; all when not given.

    Raises:
        ValueError: none fits.
    """
    wanted = ("*",) if patterns is None else (patterns,) if isinstance(patterns, str) else tuple(patterns)
    found = [name for name in seen if any(fnmatchcase(name, pattern) for pattern in wanted)]
    if not found:
        there = ", ".join(map(repr, seen)) or "nothing"
        raise ValueError(f"no layer that was recorded fits {', '.join(map(repr, wanted))}; there is {there}")
    return found
