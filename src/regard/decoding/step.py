"""The next token of every row, as searches rank it, and what is told of a search while it goes on."""

from collections.abc import Callable

from jaxtyping import Float, Int
from torch import Tensor

from regard.models.seq2seq import Searchable, State

# Told after each step: which sentences are not done, and the tokens of the likeliest unfinished output of each.
Progress = Callable[[list[int], list[list[int]]], None]


def next_scores(model: Searchable, tokens: Int[Tensor, " rows"], state: State) -> Float[Tensor, "rows vocabulary"]:
    """What each token adds to its row's score: log-probabilities by the model's logits, or what it says itself.

    A model whose `scores` is True mixes several opinions, whose sum is no distribution.
    """
    found = model.step(tokens, state).float()
    return found if getattr(model, "scores", False) else found.log_softmax(-1)
