"""The next token of every row, as searches rank it, and what is told of a search while it goes on."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

from regard.models.seq2seq import Searchable, State
from regard.ops.ranking import log_sum_exp

from .constraints import constrain
from .options import Limits

# Told after each step: which sentences are not done, and the tokens of the likeliest unfinished output of each.
Progress = Callable[[list[int], list[list[int]]], None]


def next_scores(
    model: Searchable,
    tokens: Int[Tensor, " rows"],
    state: State,
    history: Int[Tensor, "rows length"],
    options: Limits,
) -> tuple[Float[Tensor, "rows vocabulary"], Float[Tensor, " rows"]]:
    """What each token adds to its row's score, -inf where `options` forbid it, is the first less the second.

    That is its log-probability: the model's logits, and the logarithm of what they sum up to, forbidden ones included.
    A model whose `scores` is True mixes several opinions, whose sum is no distribution: these are its own, less
    nothing.
    """
    found = model.step(tokens, state).float().contiguous()
    total = found.new_zeros(len(found)) if getattr(model, "scores", False) else log_sum_exp(found)
    constrain(found, history, options)
    return found, total
