"""Attention on sets, whose elements have no order (Lee et al. 2019, Set Transformer).

Sets of several sizes are padded to one, and `mask=regard.Lengths(sizes)` hides the padding; what comes back in the
place of padding means nothing.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.attention.masks import Mask
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import EncoderBlock, FeedForward


class SetAttentionBlock(EncoderBlock):
    """`SAB(X) = MAB(X, X)`, `MAB(X, Y) = norm(H + feed_forward(H))`, `H = norm(X + attention(X, Y))`.

    A permutation of X permutes what comes back; a permutation of Y changes nothing.

    Args:
        dim: width of the elements.
        heads: number of query heads.
        hidden: width of the hidden layer of the feed-forward layer; `dim` when not given.
        dropout: as in `EncoderBlock`.
        attention: further options of `MultiHeadAttention`: `normalize=regard.Entmax15()`.
    """

    def __init__(
        self, dim: int, heads: int, *, hidden: int | None = None, dropout: float = 0.0, **attention: Any
    ) -> None:
        layers = MultiHeadAttention(dim, heads, **attention), FeedForward(dim, hidden or dim, dropout=dropout)
        super().__init__(*layers, pre_norm=False, dropout=dropout)

    def forward(
        self,
        inputs: Float[Tensor, "batch length dim"],
        memory: Float[Tensor, "batch elements dim"] | None = None,
        *,
        mask: Mask | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Attend from the set `inputs` to itself, or to the set `memory`, whose padding `mask` hides."""
        inputs = self.around_attention(inputs, lambda x: self.attention(x, memory, mask=mask))
        return self.around_feed_forward(inputs, self.feed_forward)


class InducedSetAttentionBlock(nn.Module):
    """`ISAB(X) = MAB(X, H)`, `H = MAB(I, X)`: by way of learned points I, in O(elements * points).

    Args:
        dim, heads, options: as in `SetAttentionBlock`; what a score or normaliser learns is shared by the two steps.
        points: how many points.
    """

    def __init__(self, dim: int, heads: int, *, points: int, **options: Any) -> None:
        super().__init__()
        self.points = nn.Parameter(nn.init.xavier_uniform_(torch.empty(points, dim)))
        self.gather, self.spread = SetAttentionBlock(dim, heads, **options), SetAttentionBlock(dim, heads, **options)

    def forward(
        self, inputs: Float[Tensor, "batch elements dim"], *, mask: Mask | None = None
    ) -> Float[Tensor, "batch elements dim"]:
        points = self.points.expand(len(inputs), -1, -1)
        return self.spread(inputs, self.gather(points, inputs, mask=mask))


class PoolingByAttention(nn.Module):
    """`PMA(X) = MAB(S, feed_forward(X))`: a set becomes as many vectors as there are learned seeds S.

    Args:
        dim, heads, hidden, dropout, attention: as in `SetAttentionBlock`.
        seeds: how many vectors come back.
    """

    def __init__(
        self, dim: int, heads: int, *, seeds: int = 1, hidden: int | None = None, dropout: float = 0.0, **attention: Any
    ) -> None:
        super().__init__()
        self.seeds = nn.Parameter(nn.init.xavier_uniform_(torch.empty(seeds, dim)))
        self.feed_forward = FeedForward(dim, hidden or dim, dropout=dropout)
        self.pool = SetAttentionBlock(dim, heads, hidden=hidden, dropout=dropout, **attention)

    def forward(
        self, inputs: Float[Tensor, "batch elements dim"], *, mask: Mask | None = None
    ) -> Float[Tensor, "batch seeds dim"]:
        return self.pool(self.seeds.expand(len(inputs), -1, -1), self.feed_forward(inputs), mask=mask)
