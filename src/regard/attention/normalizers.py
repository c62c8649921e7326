"""Normalisers: from the scores a query gives to its keys to weights, `p[i, :] = normalize(s[i, allowed(i)])`."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor


class Normalizer:
    """Base of all normalisers."""

    def weights(
        self,
        scores: Float[Tensor, "batch heads queries keys"],
        allowed: Bool[Tensor, "rows heads_or_1 queries_or_1 keys"] | None,
    ) -> Float[Tensor, "batch heads queries keys"]:
        """The definition, materialised. A query that may see nothing gets zero weights and zero gradients."""
        raise NotImplementedError(f"{type(self).__name__} does not define weights()")


@dataclass(frozen=True)
class Softmax(Normalizer):
    """`p[j] = exp(s[j] / temperature) / sum_k exp(s[k] / temperature)` over the allowed keys."""

    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"Softmax needs a temperature > 0, got {self.temperature}")

    def weights(
        self,
        scores: Float[Tensor, "batch heads queries keys"],
        allowed: Bool[Tensor, "rows heads_or_1 queries_or_1 keys"] | None,
    ) -> Float[Tensor, "batch heads queries keys"]:
        if scores.shape[-1] == 0:
            return scores
        if self.temperature != 1.0:
            scores = scores / self.temperature
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        # Rows of -inf alone (masked, or hidden by a bias) have no softmax: they are put aside, without NaN.
        empty = scores.detach().amax(-1, keepdim=True) == -torch.inf
        if not torch.compiler.is_compiling() and not empty.any():
            return torch.softmax(scores, -1)
        return torch.softmax(scores.masked_fill(empty, 0.0), -1).masked_fill(empty, 0.0)
