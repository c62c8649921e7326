"""What recurrent decoders add to a score: where they looked before, and where they expect to look next."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.scores import Additive, Prepared
from regard.attention.terms import Near


class LocationAware(Additive):
    """`s = w . tanh(W_q query + W_k key + U f)`, `f = F * previous weights` (Chorowski et al. 2015).

    The decoder attends once a step, and gives each step the weights of the one before:

        keys = score.prepare(memory)
        for ...:
            context, seen = regard.observe(
                state, score.after(keys, previous), memory, score=score, record=[regard.Weights()]
            )
            previous = seen.weights[..., 0, :]

    Args:
        query_dim, hidden, key_dim, heads: as for `Additive`; there are as many key heads.
        filters: filters of the convolution F.
        kernel: their width in keys; odd.
    """

    def __init__(
        self,
        query_dim: int,
        hidden: int,
        *,
        key_dim: int | None = None,
        heads: int = 1,
        filters: int = 10,
        kernel: int = 31,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if kernel % 2 == 0:
            raise ValueError(f"LocationAware centers its filters on a key, so kernel must be odd, got {kernel}")
        super().__init__(query_dim, hidden, key_dim=key_dim, heads=heads, device=device, dtype=dtype)
        self.convolution = nn.Conv1d(1, filters, kernel, padding=kernel // 2, bias=False, device=device, dtype=dtype)
        self.location_weight = nn.Parameter(torch.empty(heads, filters, hidden, device=device, dtype=dtype))
        bound = math.sqrt(6.0 / (filters + hidden))  # Glorot and Bengio 2010
        nn.init.uniform_(self.location_weight, -bound, bound)

    def after(self, keys: Prepared, previous: Float[Tensor, "batch heads keys"]) -> Prepared:
        """The prepared keys of the step after the one that had the weights `previous`."""
        score = keys.score
        while score is not self and hasattr(score, "score"):  # this score with terms
            score = score.score
        if score is not self or tuple(previous.shape) != tuple(keys.keys.shape[:3]):
            raise ValueError(
                f"after takes what this score has prepared and the weights of one query, (batch, heads, keys) = "
                f"{tuple(keys.keys.shape[:3])}; got weights {tuple(previous.shape)}"
            )
        if not previous.shape[-1]:  # no keys: a convolution needs some
            return keys
        weights = previous.to(self.convolution.weight.dtype)
        features = self.convolution(weights.flatten(0, 1).unsqueeze(1)).mT.unflatten(0, weights.shape[:2])
        return Prepared(keys.score, keys.keys + (features @ self.location_weight).to(keys.keys.dtype))


class LocalPosition(nn.Module):
    """Where a decoder's state expects to look: `p = S sigmoid(v . tanh(W state))` (Luong et al. 2015, local-p).

    Gives the Gaussian around p as a term, `score + local(state, lengths)`, for use with a window of the keys: the
    paper multiplies the weights by the Gaussian, here its logarithm is added to the scores, so that the weights
    still sum to one.

    Args:
        query_dim: width of the states.
        window: D, the half width of the window in keys; the Gaussian's sigma is D / 2.
        hidden: width of the hidden layer; `query_dim` when not given.
    """

    def __init__(self, query_dim: int, window: int, *, hidden: int | None = None) -> None:
        super().__init__()
        if window < 1:
            raise ValueError(f"LocalPosition needs a window >= 1, got {window}")
        self.window = window
        self.inner = nn.Linear(query_dim, hidden or query_dim, bias=False)
        self.outer = nn.Linear(hidden or query_dim, 1, bias=False)

    def forward(self, query: Float[Tensor, "batch heads queries query_dim"], lengths: Int[Tensor, " batch"]) -> Near:
        """The term for these queries, over `lengths[b]` keys of each batch row."""
        share = torch.sigmoid(self.outer(torch.tanh(self.inner(query)))).squeeze(-1)
        return Near(share * lengths.to(share.dtype).view(-1, 1, 1), self.window / 2.0)
