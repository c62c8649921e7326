"""What each head does, in numbers: where its weights go, how widely, and whether it finds what came before."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import escape

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from regard.attention import Entropy, Mass, Observation, Received, TopK, Watched
from regard.attention.observations import Matrices
from regard.explain.maps import layers_of, only, records_of

MEASURES = {
    "entropy": "nats of a query's weights, the mean over queries",
    "confidence": "a query's strongest weight (Voita et al. 2019)",
    "first": "weight on the first key, the usual sink (Xiao et al. 2024)",
    "previous": "weight on the position before (Clark et al. 2019)",
    "itself": "weight on the query's own position",
    "marked": "weight on keys that were marked, such as punctuation (Clark et al. 2019)",
    "induction": "weight on what came after the same token before (Olsson et al. 2022)",
}
SINK = 0.3  # of what a key could receive makes it a sink (Gu et al. 2025)


@dataclass(frozen=True, eq=False)
class Along(Observation):
    """The weight of each query on one key of its own, `(batch, heads, queries)`; 0 where its key is -1."""

    keys: Int[Tensor, "rows queries"]

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads queries"]:
        keys = matrices.place.cut_rows(self.keys[:, None].to(matrices.weights.device))
        index = keys.expand(matrices.weights.shape[:3]).unsqueeze(-1)
        return matrices.weights.detach().gather(-1, index.clamp_min(0)).squeeze(-1).masked_fill(keys < 0, 0.0)


@dataclass(frozen=True, eq=False)
class Reached(Observation):
    """How many queries may see each key, `(batch, heads, keys)`."""

    adds = True
    by_key = True

    def of(self, matrices: Matrices) -> Float[Tensor, "batch heads keys"]:
        seen = matrices.weights.new_ones(()) if matrices.allowed is None else matrices.allowed
        return seen.expand(matrices.weights.shape).sum(-2, dtype=torch.float32)


class HeadReport(Mapping[str, dict[str, Float[Tensor, " heads"]]]):
    """What each head does: by layer and measure, one number a head, the mean over real queries.

    `report["layer"]["induction"]`; `report.best("induction")` lists the heads that do it most.
    """

    def __init__(self, layers: dict[str, dict[str, Tensor]], *, exact: bool) -> None:
        self._layers, self.exact = layers, exact

    def __getitem__(self, name: str) -> dict[str, Tensor]:
        return self._layers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layers)

    def __len__(self) -> int:
        return len(self._layers)

    def best(self, measure: str, k: int = 5) -> list[tuple[str, int, float]]:
        """The `k` heads of the largest `measure`: layer, head, value.

        Raises:
            KeyError: no layer has it.
        """
        found = [
            (name, head, value)
            for name, measures in self.items()
            if measure in measures
            for head, value in enumerate(measures[measure].tolist())
        ]
        if not found:
            raise KeyError(f"no layer has {measure!r}; there is {', '.join(self._measures())}")
        return sorted(found, key=lambda one: -one[2])[:k]

    def _measures(self) -> list[str]:
        return [measure for measure in MEASURES if any(measure in measures for measures in self.values())]

    def _rows(self) -> list[tuple[str, list[str]]]:
        columns = self._measures()
        return [
            (
                f"{name or 'the model'} head {head}",
                [f"{measures[column][head]:.3f}" if column in measures else "-" for column in columns],
            )
            for name, measures in self.items()
            for head in range(len(next(iter(measures.values()))))
        ]

    def __repr__(self) -> str:
        rows = [("", self._measures()), *self._rows()]
        wide = max(len(name) for name, _ in rows)
        lines = [f"{name:<{wide}}" + "".join(f"  {value:>10}" for value in values) for name, values in rows]
        return "\n".join(lines if self.exact else [*lines, "from the strongest weights alone: each at least this"])

    def _repr_html_(self) -> str:
        head = "".join(f'<th title="{MEASURES[measure]}">{measure}</th>' for measure in self._measures())
        rows = "".join(
            f"<tr><th>{escape(name)}</th>{''.join(f'<td>{value}</td>' for value in values)}</tr>"
            for name, values in self._rows()
        )
        return f"<table><tr><th></th>{head}</tr>{rows}</table>"


def head_report(
    seen: Watched,
    *,
    tokens: Int[Tensor, "batch positions"] | None = None,
    marked: Bool[Tensor, "batch positions"] | None = None,
    real: Bool[Tensor, "batch positions"] | None = None,
    layers: str | None = None,
) -> HeadReport:
    """How widely each head attends, and to what: the first token, the one before, itself, marked ones, a repetition.

    Args:
        seen: what `regard.watch` recorded with `keep=True` or `Weights` (exact), or with `TopK` (all but the confidence
            at least what they are said to be; the entropy where `Entropy` was recorded too).
        tokens: of the sequence: for induction, which shows on a random sequence that is repeated.
        marked: keys whose weight is wanted, such as punctuation or separators.
        real: False on padding, whose queries do not count; all count when not given.
        layers: a pattern of names; all layers when not given. What speaks of positions is left out for layers whose
            queries and keys are two sequences.
    """
    found, exact = {}, True
    for name in layers_of(seen, layers):
        measured, positions, whole = _measured(seen, name, tokens, marked)
        exact = exact and whole
        found[name] = {measure: _mean(values, real, positions.get(measure)) for measure, values in measured.items()}
    return HeadReport(found, exact=exact)


def sinks(seen: Watched, layer: str, *, threshold: float = SINK) -> Float[Tensor, "batch keys"]:
    """The share of a layer's heads for which a key is an attention sink.

    It is one where it receives at least `threshold` of what it could: the mean weight over the queries that may see it.

    Args:
        seen: what `regard.watch(model, keep=True)` kept; whole calls, so that the mask is known.

    Source: Gu et al. 2025, "When Attention Sink Emerges in Language Models", eq. 3; Xiao et al. 2024.
    """
    # Of decoding there is one call a step, and keys grow from call to call.
    calls = [kept.observe(Received(), reached=Reached()) for kept in seen.kept(layer)]
    keys = max(found.received.shape[-1] for found in calls)
    total, reached = (
        torch.stack([pad(found[name], (0, keys - found[name].shape[-1])) for found in calls]).sum(0)
        for name in ("received", "reached")
    )
    return (total / reached.clamp_min(1.0) >= threshold).float().mean(1)


def after_the_same(tokens: Int[Tensor, "batch positions"]) -> Int[Tensor, "batch positions"]:
    """For each position, the one after the last earlier position of the same token; -1 where it is new."""
    found = torch.full_like(tokens, -1)
    for row, sequence in enumerate(tokens.tolist()):
        last: dict[int, int] = {}
        for position, token in enumerate(sequence):
            found[row, position] = last.get(token, -2) + 1
            last[token] = position
    return found


Measured = dict[str, Float[Tensor, "batch heads queries"]]
Positions = dict[str, Int[Tensor, "rows queries"]]


def _measured(
    seen: Watched, name: str, tokens: Tensor | None, marked: Tensor | None
) -> tuple[Measured, Positions, bool]:
    """Every measure of a layer's queries, the keys that they are about, and whether they are exact."""
    if seen.keeps:
        kept = only(seen, name)
        place = kept.call.place
        positions = _positions(place.queries, place.keys, tokens, place.device)
        record: dict[str, Observation] = {measure: Along(keys) for measure, keys in positions.items()}
        if marked is not None and positions:
            record["marked"] = Mass(marked)
        found = kept.observe(entropy=Entropy(), strongest=TopK(1), **record)
        measured = {"entropy": found["entropy"], "confidence": found["strongest"].weights[..., 0]}
        return measured | {measure: found[measure] for measure in record}, positions, True
    records = records_of(seen, name)
    keys, weights = records.topk.keys, records.topk.weights
    positions = _positions(keys.shape[2], records.keys, tokens, keys.device)
    measured = {"confidence": weights.amax(-1)}
    if records.whole is not None:
        measured["entropy"] = torch.special.entr(weights).sum(-1)
    elif "entropy" in records.seen:
        measured["entropy"] = records.seen["entropy"]
    for measure, wanted in positions.items():
        there = (keys == wanted[:, None, :, None]) & (keys >= 0)
        measured[measure] = torch.where(there, weights, 0.0).sum(-1)
    if marked is not None and positions:
        chosen = marked[:, None, None].expand(*keys.shape[:3], -1).gather(-1, keys.clamp_min(0))
        measured["marked"] = torch.where(chosen, weights, 0.0).sum(-1)
    return measured, positions, records.whole is not None


def _positions(queries: int, keys: int, tokens: Tensor | None, device: torch.device) -> Positions:
    """The one key that each measure asks each query about, -1 for none; nothing where the two are not one sequence."""
    if queries != keys:
        return {}
    places = torch.arange(queries, device=device)[None]
    positions = {"first": torch.zeros_like(places), "previous": places - 1, "itself": places}
    return positions if tokens is None else positions | {"induction": after_the_same(tokens).to(device)}


def _mean(values: Tensor, real: Tensor | None, keys: Tensor | None) -> Float[Tensor, " heads"]:
    """Over the real queries that have the key that is asked about."""
    counts = torch.ones_like(values[:, 0], dtype=torch.bool)
    if real is not None and real.shape == counts.shape:
        counts = counts & real.bool().to(counts.device)
    if keys is not None:
        counts = counts & (keys >= 0)
    return (values * counts[:, None]).sum((0, 2)) / counts.sum().clamp_min(1)
