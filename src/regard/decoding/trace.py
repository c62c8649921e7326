"""The back-pointers of a search: what each row emitted, and which row it goes on from."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from regard.models.tokens import END

from .result import Hypothesis


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Where a hypothesis ends: it emitted `token` at `step` in that step's `row`."""

    step: int
    row: int
    token: int
    log_probability: float
    score: float

    @property
    def rank(self) -> tuple[bool, float]:
        """Finished before unfinished, then by score: what was cut has not paid for its END."""
        return self.token == END, self.score


class Trace:
    """What a search did, step by step, as tensors; the outputs are read off its ends backwards, once.

    Arguments:
        sentences: how many there are in the batch.
    """

    def __init__(self, sentences: int) -> None:
        self.parents: list[Tensor] = []  # of each step: the rows that went on
        self.tokens: list[Tensor] = []  # and what they emitted
        self.endings: list[list[Ending]] = [[] for _ in range(sentences)]

    def end(
        self,
        sentence: Int[Tensor, " ended"],
        rows: Int[Tensor, " ended"],
        tokens: Int[Tensor, " ended"],
        log_probabilities: Float[Tensor, " ended"],
        scores: Float[Tensor, " ended"],
    ) -> None:
        """Note hypotheses that end with this step's `tokens`, emitted by this step's `rows`."""
        columns = (sentence, rows, tokens, log_probabilities, scores)
        for number, row, token, log_probability, score in zip(*(c.tolist() for c in columns), strict=True):
            self.endings[number].append(
                Ending(step=len(self.parents), row=row, token=token, log_probability=log_probability, score=score)
            )

    def advance(self, parents: Int[Tensor, " rows"], tokens: Int[Tensor, " rows"]) -> None:
        """Close this step: row i of the next goes on from row `parents[i]`, which emitted `tokens[i]`."""
        self.parents.append(parents)
        self.tokens.append(tokens)

    def hypotheses(self, count: int) -> list[list[Hypothesis]]:
        """The `count` best of each sentence, or all that ended; best first, of equals the earlier."""
        parents, tokens = ([step.tolist() for step in steps] for steps in (self.parents, self.tokens))
        return read_off(parents, tokens, self.endings, count)


def read_off(
    parents: list[list[int]], tokens: list[list[int]], endings: list[list[Ending]], count: int
) -> list[list[Hypothesis]]:
    """The `count` best of each sentence's endings, or all that there are; best first, of equals the earlier."""
    best = [sorted(found, key=lambda ending: ending.rank, reverse=True)[:count] for found in endings]
    return [[_follow(ending, parents, tokens) for ending in some] for some in best]


def _follow(ending: Ending, parents: list[list[int]], tokens: list[list[int]]) -> Hypothesis:
    """Walk from an ending back to the first step."""
    rows, emitted = [ending.row], [ending.token]
    for step in reversed(range(ending.step)):
        emitted.append(tokens[step][rows[-1]])
        rows.append(parents[step][rows[-1]])
    finished = ending.token == END
    return Hypothesis(
        tokens=tuple(reversed(emitted[1:] if finished else emitted)),
        score=ending.score,
        log_probability=ending.log_probability,
        finished=finished,
        rows=tuple(reversed(rows)),
    )
