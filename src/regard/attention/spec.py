"""A call in the words of the kernels that keep rows of weights (`ops.rows`): its normaliser, terms and observations."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import DotScores, Lowered
from regard.attention.normalizers import Entmax15, Sigmoid, Softmax, Sparsemax, Sum, TopKSoftmax
from regard.attention.observations import (
    Distance,
    Entropy,
    LogSumExp,
    Mass,
    MaxScore,
    Observation,
    Pooled,
    Received,
    Rows,
    TopK,
    TopKeys,
    Total,
    Weights,
)
from regard.attention.terms import Alibi, Bias, Clipped, Grid, Near, RelativeBias, T5Buckets, Term
from regard.ops import spec as rows

_KINDS = {
    TopK: "top_k",
    Entropy: "entropy",
    Received: "received",
    LogSumExp: "log_sum_exp",
    MaxScore: "max_score",
    Mass: "mass",
    Total: "mass",
    Distance: "distance",
    Pooled: "pooled",
    Rows: "rows",
    Weights: "rows",
}
_BUCKETS = (T5Buckets, Clipped, Grid)
MOST_TERMS = rows.MOST_TERMS - 2  # a dense mask and the row of a Gaussian are terms too
MOST_OBSERVATIONS = rows.MOST_OBSERVATIONS
LARGEST_POSITION = 2**30


def knows_term(term: Term) -> bool:
    """Whether the kernels have a term."""
    if type(term) is RelativeBias:
        return type(term.buckets) in _BUCKETS
    return type(term) in (Bias, Alibi, Near)


def knows_observation(item: Observation) -> bool:
    """Whether the kernels have an observation."""
    return type(item) in _KINDS


def describe(call: Call, scores: Lowered) -> tuple[rows.Spec, list[Tensor]]:
    """The spec of a call whose scores are `scores`, and the tensors that it speaks of."""
    made = _Description(call)
    normalizer, factor, highest, number = made.normalizer()
    # What is the same for all keys of a query most often changes nothing.
    if isinstance(scores, DotScores) and scores.row is not None and not _shifts(call):
        made.term(Bias(scores.row))
    for term in (*scores.terms, *call.score.terms()):
        made.term(term)
    made.mask()
    for item in call.record.values():
        made.observation(item)
    cap = scores.softcap if isinstance(scores, DotScores) else None
    spec = rows.Spec(normalizer, cap or 0.0, factor, highest, number, tuple(made.terms), tuple(made.observations))
    return spec, made.extras


def results(call: Call, tensors: list[Tensor]) -> dict[str, Tensor | TopKeys]:
    """What was recorded, by name."""
    left, found = iter(tensors), {}
    for name, item in call.record.items():
        first = next(left)
        found[name] = TopKeys(first, next(left)) if isinstance(item, TopK) else first
    return found


def _shifts(call: Call) -> bool:
    """Whether nothing changes when all scores of a query are shifted alike."""
    normalize = call.normalize
    changed = isinstance(normalize, Sigmoid | Sum) or (isinstance(normalize, Softmax) and normalize.sink is not None)
    return not changed and not any(item.of_scores for item in call.record.values())


@dataclass(eq=False)
class _Description:
    call: Call
    extras: list[Tensor] = field(default_factory=list)
    terms: list[rows.Term] = field(default_factory=list)
    observations: list[rows.Observation] = field(default_factory=list)

    def extra(self, tensor: Tensor) -> int:
        self.extras.append(tensor)
        return len(self.extras) - 1

    def normalizer(self) -> tuple[str, float, int, int]:
        """Its name, the factor of the scores, how many of them, and the extra with a number for each head."""
        match self.call.normalize:
            case Softmax() as normalize:
                sink = rows.NONE if normalize.sink is None else self.extra(normalize.sink.float())
                return "softmax", 1.0 / normalize.temperature, 0, sink
            case TopKSoftmax() as normalize:
                return "softmax", 1.0 / normalize.temperature, normalize.k, rows.NONE
            case Sigmoid() as normalize:
                bias = normalize.bias
                if bias is None:
                    bias = torch.full((1,), -math.log(max(self.call.place.keys, 1)), device=self.call.query.device)
                return "sigmoid", 1.0, 0, self.extra(bias.float())
            case Sparsemax():
                return "sparsemax", 1.0, 0, rows.NONE
            case Entmax15():
                return "entmax15", 1.0, 0, rows.NONE
            case _:
                return "sum", 1.0, 0, rows.NONE

    def term(self, term: Term) -> None:
        if isinstance(term, Bias):
            tensor = term.tensor.view((1,) * (4 - term.tensor.ndim) + tuple(term.tensor.shape))
            made = rows.Term("bias", self.extra(tensor.float()))
        elif isinstance(term, Near):
            made = rows.Term("near", self.extra(term.center.float()), factor=1.0 / (2.0 * term.sigma**2))
        elif isinstance(term, Alibi):
            made = rows.Term("alibi", self.extra(term.slopes.to(self.call.query.device)), *self.positions(term))
        else:
            assert isinstance(term, RelativeBias)
            low, high = _span(term.buckets)
            buckets = term.buckets.of(torch.arange(low, high + 1, device=term.weight.device))
            # A lookup by index_select, whose gradient is summed in a fixed order.
            table = self.extra(term.weight.float().index_select(1, buckets))
            made = rows.Term("relative", table, *self.positions(term), low=low)
        self.terms.append(made)

    def mask(self) -> None:
        mask = self.call.lowered_mask
        if mask is not None and mask.bounds is None and not mask.everything:
            self.terms.append(rows.Term("hidden", self.extra(mask.allowed)))

    def positions(self, term: Alibi | RelativeBias) -> tuple[int, int]:
        """The extras with the positions of queries and keys."""
        if term.query_positions is None:
            return self.places()
        key = term.query_positions if term.key_positions is None else term.key_positions
        pair = [torch.atleast_2d(positions).to(self.call.query.device) for positions in (term.query_positions, key)]
        if not torch.compiler.is_compiling() and any(p.numel() and p.abs().max() > LARGEST_POSITION for p in pair):
            raise ValueError(
                f"{term!r} has positions beyond {LARGEST_POSITION:,}, which the kernels do not count: give positions "
                'relative to the first, or backend="streamed"'
            )
        return self.extra(pair[0].int().contiguous()), self.extra(pair[1].int().contiguous())

    def places(self) -> tuple[int, int]:
        """The extras with where the queries and the keys of the call stand."""
        place = self.call.place
        stand = place.stand.squeeze(1).int().contiguous()
        return self.extra(stand), self.extra(place.key_index.int().unsqueeze(0))

    def observation(self, item: Observation) -> None:
        kind, place = _KINDS[type(item)], self.call.place
        made = rows.Observation(kind)
        if isinstance(item, TopK):
            made = made._replace(first=item.k)
        elif isinstance(item, Pooled):
            made = made._replace(first=item.rows, second=item.columns)
        elif isinstance(item, Mass):
            made = made._replace(chosen=self.extra(item.chosen(place).float().contiguous()))
        elif isinstance(item, Distance):
            query, key = self.places()
            made = made._replace(query_positions=query, key_positions=key)
        elif isinstance(item, Rows | Weights):
            indices = range(place.queries) if isinstance(item, Weights) else item.indices
            numbers = torch.tensor([index % place.queries for index in indices], dtype=torch.int64)
            made = made._replace(first=len(numbers), indices=self.extra(numbers))
        self.observations.append(made)


def _span(buckets: T5Buckets | Clipped | Grid) -> tuple[int, int]:
    """The displacements of which a table needs numbers: beyond, they are those of its ends."""
    if isinstance(buckets, T5Buckets):
        return -buckets.max_distance - 1, buckets.max_distance + 1
    longest = buckets.longest if isinstance(buckets, Clipped) else (buckets.count - 1) // 2
    return -longest, longest
