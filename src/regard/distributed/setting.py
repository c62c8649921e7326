"""The arguments of a call that is spread over ranks, checked."""

from dataclasses import dataclass, replace

from torch import Tensor

from regard.attention.call import Call, checked_call, recording
from regard.attention.masks import Mask
from regard.attention.normalizers import Normalizer
from regard.attention.observations import Observation
from regard.attention.running import seeded
from regard.attention.scores import ScaledDot, Score
from regard.distributed.arrangement import Arrangement, arrange
from regard.distributed.ranks import Ranks
from regard.distributed.ring import Ring
from regard.distributed.splitting import unsplit
from regard.distributed.spread import Spread


@dataclass(frozen=True, eq=False)
class Options:
    """What is asked of a call, beside its tensors."""

    score: Score | None
    normalize: Normalizer | None
    mask: Mask | None
    offset: int | Tensor
    dropout: float
    backend: str


@dataclass(frozen=True, eq=False)
class Setting:
    """A call but for its tensors: who takes part, and what is asked."""

    ranks: Ranks
    options: Options

    def call(self, query: Tensor, key: Tensor, value: Tensor) -> Call:
        """This rank's part as a call of its own, checked as far as one rank can, cast as autocast asks."""
        options = self.options
        return checked_call(
            query,
            key,
            value,
            score=None,
            normalize=options.normalize,
            mask=None,
            offset=options.offset,
            dropout=options.dropout,
            record={},
        )

    def arrangement(self, call: Call) -> Arrangement:
        """The whole call, and who holds what of it."""
        ranks, mask = self.ranks, self.options.mask
        if not isinstance(mask, Mask | None):
            raise TypeError(f"mask takes a value such as regard.Causal(), got {type(mask).__name__}")
        place = replace(call.place, queries=ranks.queries.length, keys=ranks.keys.length)
        return arrange(place, mask, ranks.queries, ranks.keys, ranks.rank, ranks.count)

    def score(self) -> Score:
        """The score, with its default."""
        score = self.options.score
        if not isinstance(score, Score | None):
            raise TypeError(f"score takes a value such as regard.ScaledDot(), got {type(score).__name__}")
        return ScaledDot() if score is None else score

    def spread(self, call: Call, record: dict[str, Observation]) -> Spread:
        """What a call does on this rank.

        Raises:
            ValueError: it cannot be split.
        """
        arrangement, score, options = self.arrangement(call), self.score(), self.options
        place = arrangement.place
        record = recording(call.normalize, place, record)
        problems = unsplit(score, call.normalize, options.mask, place, record.values())
        if problems:
            raise ValueError(f"this call cannot be split over ranks: {'; '.join(problems)}")
        query, key = (
            (*tensor.shape[:2], length, tensor.shape[3])
            for tensor, length in ((call.query, place.queries), (call.key, place.keys))
        )
        score.check(query, key, False, place)
        return Spread(
            arrangement=arrangement,
            ring=Ring(self.ranks.group, arrangement.sources, arrangement.targets),
            score=score,
            backend=options.backend,
            dropout=options.dropout,
            seed=seeded(replace(call, record={})).seed,
            record=record,
        )
