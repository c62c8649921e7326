"""Beam search: the likeliest unfinished outputs of every sentence, side by side in one batch."""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.models.seq2seq import Searchable, State
from regard.models.tokens import END, START
from regard.ops.ranking import greatest

from .constraints import require_possible
from .options import Beam
from .result import Hypothesis
from .step import Progress, next_scores
from .trace import Trace


def beam_search(
    model: Searchable,
    state: State,
    max_lengths: Int[Tensor, " sentences"],
    options: Beam,
    progress: Progress | None = None,
) -> list[list[Hypothesis]]:
    """The `n_best` hypotheses of each sentence that a beam finds, best first.

    At every step the continuations of a sentence's beams are ranked by log-probability. Those among the
    first `width` that end with END finish; the first `width` of the others are the next beams. A sentence
    leaves the batch as soon as

    - `width` of its hypotheses have finished, and the best beam, ended here, would be no better than the worst of
      its `n_best` finished ones (a sure model's second choice is often to end: without the second half, a few such
      choices would end the search before its first choice has come to its end), or
    - no beam can still displace one of its `n_best` finished hypotheses: the best beam's log-probability,
      which can only fall, is no better than the worst of them even by the score of the greatest length, or
    - its length is the greatest allowed: its beams are then unfinished hypotheses, which rank behind all
      finished ones.

    Arguments:
        model: whose `state` stands before the first step, with one row a sentence.
        state: is used up.
        max_lengths: the most tokens of each sentence, END counted.
        options: width, length penalty, and the constraints that hold.
        progress: is told of the best beam of each sentence.
    """
    width, alpha, device = options.width, options.length_penalty, max_lengths.device
    trace = Trace(len(max_lengths))
    # One entry a sentence that is still in the batch:
    sentence = torch.arange(len(max_lengths), device=device)
    finished = torch.zeros_like(sentence)  # how many of its hypotheses
    champions = torch.full((len(max_lengths), options.n_best), -math.inf, device=device)  # their best scores
    # One entry a beam; at the first step a sentence has one, whose continuations are the beams of the next:
    totals = torch.zeros(len(max_lengths), 1, device=device)  # log-probabilities; -inf: a place without an output
    tokens = torch.full_like(sentence, START)
    history = tokens.new_empty(len(tokens), 0)
    while len(sentence):
        beams, length = totals.shape[1], history.shape[1] + 1
        allowed, total = next_scores(model, tokens, state, history, options)
        # Each beam has one continuation with END, so that among twice the width at least `width` others are; and no
        # more than so many are of one beam.
        values, likeliest = greatest(allowed, min(2 * width, allowed.shape[1]))
        each = values.shape[1]
        continued = (values - total[:, None] + totals.view(-1, 1)).view(len(sentence), beams * each)
        values, places = greatest(continued, min(2 * width, beams * each))
        require_possible(values[:, 0], sentence, length - 1, options)
        rows = places // each + torch.arange(0, len(tokens), beams, device=device)[:, None]
        emitted = likeliest.view(len(sentence), beams * each).gather(1, places)
        ends = emitted == END

        # What finishes.
        complete = ends & (values > -math.inf)
        complete[:, width:] = False
        _end(trace, sentence, complete, rows, emitted, values, options, length)
        finished = finished + complete.sum(-1)
        scores = (values / length**alpha).masked_fill(~complete, -math.inf)
        champions = torch.cat([champions, scores], dim=-1).topk(options.n_best).values

        # What goes on: the beams, and the sentences that are not done.
        totals, order = values.masked_fill(ends, -math.inf).sort(dim=-1, descending=True, stable=True)
        totals, order = totals[:, :width], order[:, :width]
        rows, emitted = rows.gather(1, order), emitted.gather(1, order)
        max_length = max_lengths[sentence]
        beaten = champions[:, -1] >= totals[:, 0] / max_length**alpha
        enough = (finished >= width) & (champions[:, -1] >= totals[:, 0] / length**alpha)
        stopped = max_length <= length
        cut = (stopped & (finished < options.n_best))[:, None] & (totals > -math.inf)
        _end(trace, sentence, cut, rows, emitted, totals, options, length)

        kept = ~(beaten | enough | stopped)
        parents, emitted = rows[kept].flatten(), emitted[kept].flatten()
        trace.advance(parents, emitted)
        if len(parents) and not torch.equal(parents, torch.arange(len(tokens), device=device)):
            state.select(parents)
        tokens, history = emitted, torch.cat([history[parents], emitted[:, None]], dim=1)
        sentence, finished, champions, totals = sentence[kept], finished[kept], champions[kept], totals[kept]
        if progress is not None:
            progress(sentence.tolist(), history[:: totals.shape[1]].tolist())
    return trace.hypotheses(options.n_best)


def _end(
    trace: Trace,
    sentence: Int[Tensor, " sentences"],
    which: Bool[Tensor, "sentences candidates"],
    rows: Int[Tensor, "sentences candidates"],
    tokens: Int[Tensor, "sentences candidates"],
    totals: Float[Tensor, "sentences candidates"],
    options: Beam,
    length: int,
) -> None:
    """Note those candidates that end at this step, each with its score."""
    place, _ = which.nonzero(as_tuple=True)
    scores = totals[which] / length**options.length_penalty
    trace.end(sentence[place], rows[which], tokens[which], totals[which], scores)
