"""The blocks of the Transformer: attention and a feed-forward layer, each with a residual path and a norm around it."""

from collections.abc import Callable
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.masks import Mask
from regard.nn.attention import MultiHeadAttention
from regard.nn.cache import KeyValueCache
from regard.nn.dropout import Dropout
from regard.nn.plain import is_plain
from regard.ops.native import runs
from regard.ops.random import draw_seed
from regard.ops.residual import add_dropout, add_dropout_norm

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "silu": nn.SiLU}


class FeedForward(nn.Module):
    """`W_2 activation(W_1 x + b_1) + b_2`, on every position alone (Vaswani et al. 2017)."""

    def __init__(self, dim: int, hidden: int, *, activation: str = "relu", dropout: float = 0.0) -> None:
        super().__init__()
        if activation not in ACTIVATIONS:
            raise ValueError(f"unknown activation {activation!r}; expected one of {', '.join(ACTIVATIONS)}")
        self.inner, self.outer = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.activation, self.dropout = ACTIVATIONS[activation](), Dropout(dropout)
        for layer in (self.inner, self.outer):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, inputs: Float[Tensor, "batch length dim"]) -> Float[Tensor, "batch length dim"]:
        return self.outer(self.dropout(self.activation(self.inner(inputs))))


class Residual(nn.Module):
    """`x + dropout(f(norm(x)))` (pre-norm, Xiong et al. 2020), or `norm(x + dropout(f(x)))` (post-norm, as of 2017)."""

    def __init__(self, dim: int, *, pre_norm: bool, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout, self.pre_norm = nn.LayerNorm(dim), Dropout(dropout), pre_norm

    def forward(
        self, inputs: Float[Tensor, "batch length dim"], layer: Callable[[Tensor], Tensor]
    ) -> Float[Tensor, "batch length dim"]:
        branch = layer(self.norm(inputs)) if self.pre_norm else layer(inputs)
        if not self._fuses(inputs, branch):
            total = inputs + self.dropout(branch)
            return total if self.pre_norm else self.norm(total)
        p, seed = self.dropout.p, draw_seed()
        if self.pre_norm:
            return add_dropout(inputs, branch, p=p, seed=seed)
        if not is_plain(self.norm, nn.LayerNorm) or self.norm.normalized_shape != inputs.shape[-1:]:
            return self.norm(add_dropout(inputs, branch, p=p, seed=seed))
        return add_dropout_norm(inputs, branch, self.norm.weight, self.norm.bias, p=p, seed=seed, eps=self.norm.eps)

    def _fuses(self, inputs: Tensor, branch: Tensor) -> bool:
        """Whether the kernels add what is kept of a branch in one pass."""
        drops = is_plain(self.dropout, Dropout) and self.dropout.training and self.dropout.p > 0.0
        return drops and inputs.shape == branch.shape and runs(inputs, branch)


class EncoderBlock(nn.Module):
    """Self-attention, then a feed-forward layer."""

    def __init__(
        self, attention: MultiHeadAttention, feed_forward: FeedForward, *, pre_norm: bool, dropout: float
    ) -> None:
        super().__init__()
        dim = feed_forward.inner.in_features
        self.attention, self.feed_forward = attention, feed_forward
        self.around_attention = Residual(dim, pre_norm=pre_norm, dropout=dropout)
        self.around_feed_forward = Residual(dim, pre_norm=pre_norm, dropout=dropout)

    def forward(
        self, inputs: Float[Tensor, "batch length dim"], *, mask: Mask | None = None
    ) -> Float[Tensor, "batch length dim"]:
        inputs = self.around_attention(inputs, lambda x: self.attention(x, mask=mask))
        return self.around_feed_forward(inputs, self.feed_forward)


@dataclass(eq=False)
class BlockCache:
    """What a decoder block keeps while it generates."""

    own: KeyValueCache = field(default_factory=KeyValueCache)
    cross: KeyValueCache = field(default_factory=KeyValueCache)

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        self.own.select(rows)
        self.cross.select(rows)


class DecoderBlock(nn.Module):
    """Causal self-attention, attention to the encoder's output (where `cross` is given), and a feed-forward layer."""

    def __init__(
        self,
        attention: MultiHeadAttention,
        feed_forward: FeedForward,
        *,
        cross: MultiHeadAttention | None = None,
        pre_norm: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        dim = feed_forward.inner.in_features
        self.attention, self.cross, self.feed_forward = attention, cross, feed_forward
        self.around_attention = Residual(dim, pre_norm=pre_norm, dropout=dropout)
        self.around_cross = None if cross is None else Residual(dim, pre_norm=pre_norm, dropout=dropout)
        self.around_feed_forward = Residual(dim, pre_norm=pre_norm, dropout=dropout)

    def forward(
        self,
        inputs: Float[Tensor, "batch length dim"],
        memory: Float[Tensor, "batch source memory_dim"] | None = None,
        *,
        mask: Mask | None = None,
        memory_mask: Mask | None = None,
        cache: BlockCache | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        own = None if cache is None else cache.own
        inputs = self.around_attention(inputs, lambda x: self.attention(x, mask=mask, cache=own))
        if self.cross is not None and self.around_cross is not None:
            cross, kept = self.cross, None if cache is None else cache.cross
            inputs = self.around_cross(inputs, lambda x: cross(x, memory, mask=memory_mask, cache=kept))
        return self.around_feed_forward(inputs, self.feed_forward)
