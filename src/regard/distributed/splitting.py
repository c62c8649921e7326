"""What of a call cannot be computed a block of keys at a time."""

from collections.abc import Iterable

from regard.attention.masks import And, Mask, Not, Or
from regard.attention.normalizers import Normalizer, Softmax
from regard.attention.observations import (
    Distance,
    Entropy,
    LogSumExp,
    Mass,
    MaxScore,
    Observation,
    Received,
    TopK,
    Total,
)
from regard.attention.place import Place
from regard.attention.scores import Score
from regard.attention.terms import Alibi, RelativeBias, Term

MERGED = (Distance, Entropy, LogSumExp, Mass, MaxScore, Received, TopK, Total)
GATHER = "or gather keys and values (regard.distributed.gather) and call regard.attend"


def unsplit(
    score: Score, normalize: Normalizer, mask: Mask | None, place: Place, record: Iterable[Observation]
) -> list[str]:
    """What stands in the way of splitting a call over ranks, each with what to do about it; empty if nothing does.

    `place` is that of the whole call.
    """
    found = []
    if not isinstance(normalize, Softmax):
        found.append(
            f"{normalize!r} has to see whole rows of scores, where a softmax is put together of parts: "
            f"normalize=regard.Softmax(), {GATHER}"
        )
    elif normalize.temperature != 1.0:
        found.append(f"{normalize!r} has a temperature: divide the query by it, {GATHER}")
    for part in _without_intervals(mask, place):
        found.append(
            f"{part!r} has no intervals of keys, and each pair of ranks would need a tile of it: write it with Causal, "
            f"Window, Prefix, Global, Lengths or Documents, {GATHER}"
        )
    for term in score.terms():
        if not _by_position(term):
            found.append(
                f"{term!r} does not follow from positions in the whole sequence: use Alibi or RelativeBias without "
                f"positions of their own, {GATHER}"
            )
    for item in record:
        if not isinstance(item, MERGED):
            found.append(f"{item!r} is not merged: record {', '.join(kind.__name__ for kind in MERGED)}, {GATHER}")
    return found


def _without_intervals(mask: Mask | None, place: Place) -> list[Mask]:
    few = place.block(slice(None), slice(None), slice(0, 1))
    if mask is None or mask.intervals(few) is not None:
        return []
    return [part for part in mask.parts() if not isinstance(part, And | Or | Not) and part.intervals(few) is None]


def _by_position(term: Term) -> bool:
    return isinstance(term, Alibi | RelativeBias) and term.query_positions is None
