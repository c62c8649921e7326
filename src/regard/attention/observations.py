"""Observations: reductions of the weights, taken after the normaliser and before dropout, in float32, a query head.

Each defines itself on the materialised weights (`of`); fused backends compute the same in O(n) memory.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Matrices:
    """The materialised call that an observation is defined on."""

    scores: Float[Tensor, "batch heads queries keys"]
    weights: Float[Tensor, "batch heads queries keys"]
    allowed: Bool[Tensor, "rows heads_or_1 queries_or_1 keys"] | None


@dataclass(frozen=True, eq=False)
class TopKeys:
    """The strongest keys of each query, the strongest first: `keys` (-1 where there is none) and their `weights`."""

    keys: Int[Tensor, "batch heads queries k"]
    weights: Float[Tensor, "batch heads queries k"]

    def __repr__(self) -> str:
        return f"TopKeys(keys={tuple(self.keys.shape)}, weights={tuple(self.weights.shape)})"


class Observation:
    """Base of all observations."""

    has_gradient: bool = False
    of_scores: bool = False  # whether it reads the scores, and not only the weights

    @property
    def name(self) -> str:
        """The name of the result when none is given: the class's, in lower case."""
        return type(self).__name__.lower()

    def of(self, matrices: Matrices) -> "Tensor | TopKeys":
        """The definition."""
        raise NotImplementedError(f"{type(self).__name__} does not define of()")


@dataclass(frozen=True)
class Weights(Observation):
    """All weights, `(batch, heads, queries, keys)`: O(n^2) memory, for small inputs."""

    has_gradient = True

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
        ordered, keys = weights.sort(dim=-1, descending=True, stable=True)  # stable: equal weights keep their order
        ordered, keys = ordered[..., : self.k], keys[..., : self.k]
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

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads keys"]:
        return matrices.weights.sum(-2)


@dataclass(frozen=True)
class LogSumExp(Observation):
    """`ln sum_j exp s[i, j]` over the allowed keys, `(batch, heads, queries)`; -inf, without gradient, for none."""

    has_gradient = True
    of_scores = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        scores = matrices.scores
        if matrices.allowed is not None:
            scores = scores.masked_fill(~matrices.allowed, -torch.inf)
        empty = (scores == -torch.inf).all(-1)
        filled = scores.masked_fill(empty.unsqueeze(-1), 0.0)
        return filled.logsumexp(-1).masked_fill(empty, -torch.inf)


class Seen(Mapping[str, Any]):
    """What one call recorded: a mapping from name to result, a tensor or `TopKeys`; `seen.entropy` reads it too."""

    def __init__(self, results: Mapping[str, "Tensor | TopKeys"]) -> None:
        self._results = dict(results)

    def __getitem__(self, name: str) -> Any:
        if name not in self._results:
            raise KeyError(f"{name!r} was not recorded; recorded: {', '.join(self._results) or 'nothing'}")
        return self._results[name]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._results:
            recorded = ", ".join(self.__dict__.get("_results", {})) or "nothing"
            raise AttributeError(f"{name!r} was not recorded; recorded: {recorded}")
        return self._results[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)

    def _lines(self) -> list[tuple[str, str]]:
        return [
            (name, repr(value) if isinstance(value, TopKeys) else f"{tuple(value.shape)}")
            for name, value in self._results.items()
        ]

    def __repr__(self) -> str:
        return f"Seen({', '.join(f'{name}: {shape}' for name, shape in self._lines())})"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><th>{escape(name)}</th><td>{shape}</td></tr>" for name, shape in self._lines())
        return f"<table>{rows}</table>"


Record = Sequence[Observation] | Mapping[str, Observation]


def named(*records: Record) -> dict[str, Observation]:
    """The observations of a call by name; two of a kind need names of their own."""
    pairs: list[tuple[str, Observation]] = []
    for record in records:
        if isinstance(record, Mapping):
            pairs += record.items()
        elif isinstance(record, Sequence):
            pairs += [(getattr(item, "name", ""), item) for item in record]
        else:
            raise TypeError(f"record takes a list of observations, got {record!r}; write record=[regard.Entropy()]")
    observations: dict[str, Observation] = {}
    for name, item in pairs:
        if not isinstance(item, Observation):
            hint = f"; write {item.__name__}()" if isinstance(item, type) and issubclass(item, Observation) else ""
            raise TypeError(f"record takes observations such as regard.Entropy(), got {item!r}{hint}")
        if name in observations:
            raise ValueError(
                f'two observations are called "{name}"; name them: '
                f'record={{"first": {observations[name]!r}, "second": {item!r}}}'
            )
        observations[name] = item
    return observations
