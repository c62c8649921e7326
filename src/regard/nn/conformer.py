"""The Conformer's block (Gulati et al. 2020): attention for what is far away, a convolution for what is near."""

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.masks import Mask
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import FeedForward, Residual

SHRINKS = 4  # frames of a position


class NearConvolution(nn.Module):
    """`W_2 silu(norm(depthwise(glu(W_1 x))))`: each feature mixed over `kernel` positions around its own.

    The norm is of each position (layer norm, where the paper has batch norm): what a recording becomes does not depend
    on the recordings beside it, or on how they are padded.

    Args:
        dim: of the inputs and outputs.
        kernel: positions, odd.
    """

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        if kernel % 2 == 0:
            raise ValueError(f"kernel has a middle, so it must be odd, got {kernel}")
        self.inner, self.outer = nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.near = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self, inputs: Float[Tensor, "batch length dim"], beyond: Bool[Tensor, "batch length 1"] | None = None
    ) -> Float[Tensor, "batch length dim"]:
        """Mix; positions `beyond` the end of a sequence are no one's neighbours."""
        hidden = functional.glu(self.inner(inputs), -1)
        if beyond is not None:
            hidden = hidden.masked_fill(beyond, 0.0)
        return self.outer(functional.silu(self.norm(self.near(hidden.mT).mT)))


class ConformerBlock(nn.Module):
    """Half a feed-forward layer, self-attention, a convolution, the other half, each with a residual path; a norm.

    Args:
        attention: of positions to each other.
        feed_forward: hidden width of each half.
        kernel: positions of the convolution, odd.
        dropout: on each path.
    """

    def __init__(self, attention: MultiHeadAttention, dim: int, feed_forward: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.first, self.last = (FeedForward(dim, feed_forward, activation="silu", dropout=dropout) for _ in range(2))
        self.attention, self.convolution = attention, NearConvolution(dim, kernel)
        self.around_first, self.around_attention, self.around_convolution, self.around_last = (
            Residual(dim, pre_norm=True, dropout=dropout) for _ in range(4)
        )
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        inputs: Float[Tensor, "batch length dim"],
        *,
        mask: Mask | None = None,
        beyond: Bool[Tensor, "batch length 1"] | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        inputs = self.around_first(inputs, lambda x: 0.5 * self.first(x))
        inputs = self.around_attention(inputs, lambda x: self.attention(x, mask=mask))
        inputs = self.around_convolution(inputs, lambda x: self.convolution(x, beyond))
        inputs = self.around_last(inputs, lambda x: 0.5 * self.last(x))
        return self.norm(inputs)


class Subsampling(nn.Module):
    """Features at a quarter of their rate, `dim` wide: two convolutions of stride 2 over time and frequency.

    Args:
        bands: of the features.
        dim: of what comes out.
        channels: of the convolutions.
    """

    def __init__(self, bands: int, dim: int, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, channels, 3, stride=2, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.bring = nn.Linear(channels * ((bands + 3) // 4), dim)

    def forward(self, features: Float[Tensor, "batch frames bands"]) -> Float[Tensor, "batch length dim"]:
        hidden = functional.relu(self.second(functional.relu(self.first(features.unsqueeze(1)))))
        return self.bring(hidden.permute(0, 2, 1, 3).flatten(2))


def quarter(frames: Int[Tensor, " batch"]) -> Int[Tensor, " batch"]:
    """How many positions are left of so many frames."""
    return (frames + SHRINKS - 1) // SHRINKS
