"""Search without alternatives: every row emits one token a step, and leaves the batch when it is finished."""

from collections.abc import Callable

import torch
from jaxtyping import Int
from torch import Tensor

from regard.models.seq2seq import Searchable, State
from regard.models.tokens import END, START
from regard.ops.ranking import greatest

from .constraints import require_possible
from .options import Greedy, Limits
from .result import Hypothesis
from .step import Progress, next_scores
from .trace import Trace


def greedy_search(
    model: Searchable,
    state: State,
    max_lengths: Int[Tensor, " sentences"],
    options: Greedy,
    progress: Progress | None = None,
) -> list[list[Hypothesis]]:
    """The likeliest token of every step; one hypothesis a sentence. Ties go to the lower token."""
    return follow(model, state, max_lengths, options, choose=lambda allowed, likeliest: likeliest, progress=progress)


def follow(
    model: Searchable,
    state: State,
    max_lengths: Int[Tensor, " sentences"],
    options: Limits,
    *,
    choose: Callable[[Tensor, Tensor], Tensor],
    copies: int = 1,
    progress: Progress | None = None,
) -> list[list[Hypothesis]]:
    """Let every row emit what `choose` takes, until that is END or the row has its greatest length.

    Arguments:
        model: whose `state` stands before the first step, with one row a sentence.
        state: is used up.
        max_lengths: the most tokens of each sentence, END counted.
        options: whose constraints hold.
        choose: from the logits (rows, vocabulary) of the next token, -inf where it is forbidden, and the likeliest
            tokens (rows,), to the tokens (rows,) that are emitted.
        copies: rows, thus hypotheses, a sentence.
        progress: is told of the first row of each sentence.
    """
    trace = Trace(len(max_lengths))
    device = max_lengths.device
    # Of each row:
    sentence = torch.arange(len(max_lengths), device=device).repeat_interleave(copies)
    if copies > 1:
        state.select(sentence)
    tokens = torch.full_like(sentence, START)
    totals = torch.zeros(len(sentence), device=device)
    history = sentence.new_empty(len(sentence), 0)
    while len(sentence):
        allowed, total = next_scores(model, tokens, state, history, options)
        best, likeliest = greatest(allowed, 1)
        require_possible(best[:, 0] - total, sentence, history.shape[1], options)
        tokens = choose(allowed, likeliest[:, 0])
        totals = totals + (allowed.gather(1, tokens[:, None])[:, 0] - total)
        history = torch.cat([history, tokens[:, None]], dim=1)

        gone = (tokens == END) | (max_lengths[sentence] <= history.shape[1])
        ended, kept = gone.nonzero()[:, 0], (~gone).nonzero()[:, 0]
        trace.end(sentence[ended], ended, tokens[ended], totals[ended], totals[ended])
        tokens = tokens[kept]
        trace.advance(kept, tokens)
        if 0 < len(kept) < len(gone):
            state.select(kept)
        sentence, totals, history = sentence[kept], totals[kept], history[kept]
        if progress is not None:
            first: dict[int, list[int]] = {}
            for number, so_far in zip(sentence.tolist(), history.tolist(), strict=True):
                first.setdefault(number, so_far)
            progress(list(first), list(first.values()))
    return trace.hypotheses(copies)
