"""The next token of every row, as searches rank it."""

from jaxtyping import Float, Int
from torch import Tensor

from regard.models.seq2seq import Searchable, State


def next_scores(model: Searchable, tokens: Int[Tensor, " rows"], state: State) -> Float[Tensor, "rows vocabulary"]:
    """What each token adds to its row's score: log-probabilities by the model's logits, or what it says itself.

    A model whose `scores` is True mixes several opinions, whose sum is no distribution.
    """
    found = model.step(tokens, state).float()
    return found if getattr(model, "scores", False) else found.log_softmax(-1)
