"""Attention as a weighted mean of a sequence: a learned query asks every position how much it matters."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.attention.api import attend
from regard.attention.padding import Documents, Lengths
from regard.attention.scores import Additive


class AdditivePooling(nn.Module):
    """`sum_j p_j h_j`, `p = softmax_j(w . tanh(b + W h_j))`: one vector a sequence, with a weight for each position.

    The score is :class:`Additive` of a learned query, whose projection is `b`. With several heads, each has a query of
    its own for its share of the features.

    Args:
        dim: width of the positions, and of what is returned.
        heads: how many queries.

    Source: Yang et al. 2016, "Hierarchical Attention Networks for Document Classification", eq. 5 to 7.
    """

    def __init__(self, dim: int, *, heads: int = 1) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.heads, self.head_dim = heads, dim // heads
        self.query = nn.Parameter(torch.randn(heads, 1, self.head_dim) * self.head_dim**-0.5)
        self.score = Additive(self.head_dim, self.head_dim, heads=heads)

    def forward(
        self, hidden: Float[Tensor, "rows length dim"], mask: Lengths | Documents | None = None
    ) -> Float[Tensor, "sequences dim"]:
        """The mean of each row, or of each of the documents that one row is packed with.

        Args:
            hidden: the positions.
            mask: `Lengths` of padded rows; `Documents([1] * n, lengths)` of a packed one: a query a document.
        """
        queries = mask.lengths.shape[1] if isinstance(mask, Documents) else 1
        heads = hidden.unflatten(-1, (self.heads, self.head_dim)).transpose(1, 2)
        query = self.query.to(hidden.dtype).expand(hidden.shape[0], -1, queries, -1)
        return attend(query, heads, heads, score=self.score, mask=mask).transpose(1, 2).flatten(2).flatten(0, 1)
