"""What CTC's labels of frames say: the tokens, when each of them is heard, and how likely a text is to go on so."""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.models.tokens import BLANK

Labels = Float[Tensor, "batch length vocabulary"]


def ctc_greedy(labels: Labels, lengths: Int[Tensor, " batch"]) -> list[list[int]]:
    """The likeliest label of each position, what lasts once, without BLANK."""
    best = labels.argmax(-1)
    found = []
    for row, length in zip(best, lengths.tolist(), strict=True):
        once = torch.unique_consecutive(row[:length])
        found.append(once[once != BLANK].tolist())
    return found


def ctc_align(labels: Float[Tensor, "length vocabulary"], tokens: list[int]) -> tuple[list[tuple[int, int]], float]:
    """When each of the tokens is heard: the likeliest way to spread them over the positions (Viterbi).

    Args:
        labels: log-probabilities, of one recording.
        tokens: what is said in it.

    Returns:
        The first position of each token and the one behind its last, and the log-probability of this way.

    Raises:
        ValueError: there are fewer positions than the tokens need: one each, and one between two that are the same.
    """
    if not tokens:
        return [], float(labels[:, BLANK].sum())
    states = torch.full((2 * len(tokens) + 1,), BLANK)
    states[1::2] = torch.tensor(tokens)
    needed = len(tokens) + sum(one == other for one, other in pairwise(tokens))
    if len(labels) < needed:
        raise ValueError(f"{len(tokens)} tokens need {needed} positions, and the sound has {len(labels)}")
    # From a state one may stay, go on, or skip the blank between two tokens that differ.
    skips = torch.zeros(len(states), dtype=torch.bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    score = torch.full((len(states),), -math.inf)
    score[:2] = labels[0, states[:2]]
    came = torch.zeros(len(labels), len(states), dtype=torch.long)
    for position in range(1, len(labels)):
        from_one = torch.cat((score.new_full((1,), -math.inf), score[:-1]))
        from_two = torch.cat((score.new_full((2,), -math.inf), score[:-2])).masked_fill(~skips, -math.inf)
        score, came[position] = torch.stack((score, from_one, from_two)).max(0)
        score = score + labels[position, states]
    state = len(states) - 1 if score[-1] > score[-2] else len(states) - 2
    total = float(score[state])
    path = [state]
    for position in range(len(labels) - 1, 0, -1):
        state -= int(came[position, state])
        path.append(state)
    where = torch.tensor(path[::-1])
    spans = []
    for number in range(len(tokens)):
        at = (where == 2 * number + 1).nonzero().flatten()
        spans.append((int(at[0]), int(at[-1]) + 1))
    return spans, total


@dataclass(eq=False)
class PrefixState:
    """How likely the positions up to each one are to say what a row has emitted so far: ending in its last token, and
    in BLANK (`ended`, `paused`); the last token; and the log-probability that the sound begins so (`begun`).
    """

    labels: Float[Tensor, "rows length vocabulary"]
    lengths: Int[Tensor, " rows"]
    ended: Float[Tensor, "rows length"]
    paused: Float[Tensor, "rows length"]
    last: Int[Tensor, " rows"]
    begun: Float[Tensor, " rows"]

    @classmethod
    def of(cls, labels: Labels, lengths: Int[Tensor, " batch"]) -> "PrefixState":
        """Before anything is emitted."""
        blank = labels[..., BLANK]
        return cls(
            labels=labels,
            lengths=lengths,
            ended=torch.full_like(blank, -math.inf),
            paused=blank.cumsum(-1),
            last=torch.full_like(lengths, -1),
            begun=blank.new_zeros(len(labels)),
        )

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Make row i what row `rows[i]` is now."""
        for name in ("labels", "lengths", "ended", "paused", "last", "begun"):
            setattr(self, name, getattr(self, name).index_select(0, rows))

    def append(self, tokens: Int[Tensor, " rows"]) -> None:
        """Go on by a token in each row."""
        own = self.labels.gather(2, tokens.view(-1, 1, 1).expand(-1, self.labels.shape[1], 1))[..., 0]
        enters = self._enters(tokens.unsqueeze(1))[..., 0]
        blank = self.labels[..., BLANK]
        ended, paused = torch.full_like(own, -math.inf), torch.full_like(own, -math.inf)
        for position in range(own.shape[1]):
            here = enters[:, position]
            if position:
                here = torch.logaddexp(here, ended[:, position - 1])
                paused[:, position] = blank[:, position] + torch.logaddexp(
                    paused[:, position - 1], ended[:, position - 1]
                )
            ended[:, position] = own[:, position] + here
        self.begun = self._begins(enters, own)
        self.ended, self.paused, self.last = ended, paused, tokens

    def following(self, end: int) -> Float[Tensor, "rows vocabulary"]:
        """For each token the log-probability that the sound begins with what was emitted and this token, less that it
        begins with what was emitted; for `end`, that it says no more (Watanabe et al. 2017, algorithm 2)."""
        rows, _, vocabulary = self.labels.shape
        every = torch.arange(vocabulary, device=self.labels.device).expand(rows, -1)
        scores = self._begins(self._enters(every), self.labels)
        final = (self.lengths - 1).unsqueeze(1)
        scores[:, end] = torch.logaddexp(self.ended.gather(1, final), self.paused.gather(1, final))[:, 0]
        scores[:, BLANK] = -math.inf
        impossible = self.begun.unsqueeze(1) == -math.inf  # of a place in a beam that holds no output
        return (scores - self.begun.unsqueeze(1)).masked_fill(impossible, -math.inf)

    def _enters(self, tokens: Int[Tensor, "rows choices"]) -> Float[Tensor, "rows length choices"]:
        """How likely it is that the positions before each one say all that was emitted, so that a token begins there.

        Behind the same token a pause must have been.
        """
        either = torch.logaddexp(self.ended, self.paused)
        before = torch.where(
            (tokens == self.last.unsqueeze(1)).unsqueeze(1), self.paused.unsqueeze(2), either.unsqueeze(2)
        )
        first = torch.where(self.last == -1, 0.0, -math.inf).to(before.dtype)  # nothing was said before the first
        return torch.cat((first.view(-1, 1, 1).expand(-1, 1, tokens.shape[1]), before[:, :-1]), 1)

    def _begins(self, enters: Tensor, own: Tensor) -> Tensor:
        """The sum over where a token may begin."""
        outside = torch.arange(own.shape[1], device=own.device) >= self.lengths.unsqueeze(1)
        outside = outside if own.ndim == 2 else outside.unsqueeze(2)
        return (enters + own).masked_fill(outside, -math.inf).logsumexp(1)
