"""Searches of a decoder whose steps the kernels make: all of their steps are one call."""

from jaxtyping import Int
from torch import Tensor

from regard.models.packed import PackedDecoder

from .constraints import impossible
from .options import Beam, Greedy
from .result import Hypothesis
from .trace import Ending, read_off


def packed_search(
    state: PackedDecoder, max_lengths: Int[Tensor, " sentences"], options: Greedy | Beam
) -> list[list[Hypothesis]] | None:
    """What `greedy_search` or `beam_search` finds; nothing, where the state has to be asked step by step.

    Arguments:
        state: stands before the first step, with one row a sentence; is used up.
        max_lengths: the most tokens of each sentence, END counted.
        options: the kind of search, and its limits.
    """
    words = state.words(int(max_lengths.max()))
    if words is None:
        return None
    limits = {"shortest": options.min_length, "ngram": options.no_repeat_ngram}
    match options:
        case Beam(width=width, length_penalty=penalty, n_best=best):
            found = state.steps.search(words, max_lengths, width=width, best=best, penalty=penalty, **limits)
        case _:
            best, found = 1, state.steps.search(words, max_lengths, width=None, **limits)
    if found.impossible is not None:
        raise impossible(*found.impossible, options)
    endings: list[list[Ending]] = [[] for _ in range(len(max_lengths))]
    for sentence, step, row, token, log_probability, score in found.endings:
        ending = Ending(step=step, row=row, token=token, log_probability=log_probability, score=score)
        endings[sentence].append(ending)
    return read_off(found.parents, found.tokens, endings, best)
