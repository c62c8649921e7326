"""Outputs drawn at random from the model's distribution, sharpened and truncated."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.models.seq2seq import Searchable, State

from .greedy import follow
from .options import Sampling
from .result import Hypothesis
from .step import Progress


def sample(
    model: Searchable,
    state: State,
    max_lengths: Int[Tensor, " sentences"],
    options: Sampling,
    progress: Progress | None = None,
) -> list[list[Hypothesis]]:
    """`options.samples` independent hypotheses a sentence; the likeliest first."""
    generator = torch.Generator(device=max_lengths.device).manual_seed(options.seed)

    def draw(allowed: Float[Tensor, "rows vocabulary"], likeliest: Int[Tensor, " rows"]) -> Int[Tensor, " rows"]:
        probabilities = truncate(allowed, options).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=generator)[:, 0]

    return follow(model, state, max_lengths, options, choose=draw, copies=options.samples, progress=progress)


def truncate(logits: Float[Tensor, "rows vocabulary"], options: Sampling) -> Float[Tensor, "rows vocabulary"]:
    """Divide by the temperature, then keep the `top_k` likeliest tokens, then the nucleus; else -inf.

    The nucleus is taken of the distribution that top-k left, renormalised; it always holds the likeliest
    token.

    Source: Holtzman et al. 2020, "The Curious Case of Neural Text Degeneration".
    """
    logits = logits / options.temperature
    if options.top_k == 0 and options.top_p == 1:
        return logits
    ordered, tokens = logits.sort(dim=-1, descending=True, stable=True)
    if options.top_k:
        ordered[:, options.top_k :] = -math.inf
    if options.top_p < 1:
        probabilities = ordered.softmax(-1)
        likelier = probabilities.cumsum(-1) - probabilities  # together, the tokens before each one
        likelier[:, 0] = 0
        ordered = ordered.masked_fill(likelier >= options.top_p, -math.inf)
    return torch.empty_like(logits).scatter_(1, tokens, ordered)
