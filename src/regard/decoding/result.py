"""What a search returns, and what its tokens attended to."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One output for one sentence.

    Arguments:
        tokens: without START and END.
        score: what it was ranked by: for `Beam`, `log_probability / length ** length_penalty`; else
            `log_probability`.
        log_probability: log p(tokens, END | source) by the model, in nats: the sum over the emitted tokens,
            END included, before temperature, truncation and constraints.
        finished: END was produced; else the hypothesis was cut at its greatest length.
        rows: `rows[t]` is the row of step t's batch that emitted token t, END included: what the model
            recorded at step t about this hypothesis stands in that row.
    """

    tokens: tuple[int, ...]
    score: float
    log_probability: float
    finished: bool
    rows: tuple[int, ...]


def attention_of(
    hypothesis: Hypothesis, calls: Sequence[Float[Tensor, "_ heads 1 _"]]
) -> Float[Tensor, "heads tokens keys"]:
    """The weights with which each token of a hypothesis attended, gathered from the steps of its search.

    `result[:, t] = calls[t][rows[t]]`.

    Arguments:
        hypothesis: of the search during which `calls` were recorded.
        calls: the weights (rows, heads, 1, keys) of one attention layer, one tensor a step, in order. Steps
            of other sentences of the batch, after this hypothesis ended, may follow.

    Returns:
        One row of weights a token, END included where the hypothesis is finished. Where the keys grow from
        step to step (self-attention), those that were not there yet have weight zero.

    Raises:
        ValueError: if there are fewer calls than tokens, or a call lacks the hypothesis' row.
    """
    steps = len(hypothesis.rows)
    if len(calls) < steps:
        raise ValueError(
            f"the hypothesis was emitted in {steps} steps, but {len(calls)} recorded calls were given; "
            "give the calls of the whole search, one a step: record around search(...), not around a part "
            "of it"
        )
    emitted = []
    for step, (weights, row) in enumerate(zip(calls, hypothesis.rows, strict=False)):
        if row >= len(weights):
            raise ValueError(
                f"step {step} of the hypothesis is row {row}, but its recorded call has {len(weights)} "
                "rows; give the calls of the search that returned this hypothesis, of one layer, in order"
            )
        emitted.append(weights[row, :, 0])
    keys = max(weights.shape[-1] for weights in emitted)
    return torch.stack([pad(weights, (0, keys - weights.shape[-1])) for weights in emitted], dim=1)
