"""Axial attention: a map attends along its columns, then along its rows."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.padding import Lengths
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import EncoderBlock


class AxialAttention(nn.Module):
    """`width(height(x))`: along every column, then along every row of a map (Ho et al. 2019; Wang et al. 2020).

    Two steps carry every cell to every other, in O(H W (H + W)) pairs instead of O((H W)^2).

    Args:
        height: the layer along the columns, for sequences `(batch * width, height, dim)`: a `MultiHeadAttention`, or an
            `EncoderBlock`, whose residual paths make of it a block of Ho's Axial Transformer. Positions count along
            the axis, so that its `Causal`, `Rotary` or `RelativeBias` are about the rows of the map.
        width: the layer along the rows, for sequences `(batch * height, width, dim)`.
    """

    def __init__(self, height: MultiHeadAttention | EncoderBlock, width: MultiHeadAttention | EncoderBlock) -> None:
        super().__init__()
        self.height, self.width = height, width

    def forward(
        self, inputs: Float[Tensor, "batch height width dim"], *, sizes: Int[Tensor, "batch 2"] | None = None
    ) -> Float[Tensor, "batch height width dim"]:
        """Attend along both axes.

        Args:
            inputs: `(batch, height, width, dim)`.
            sizes: height and width of each map, where maps of several sizes are padded to one at the bottom and on the
                right; no cell attends to padding, and what comes back there means nothing.

        Raises:
            ValueError: for `sizes` of another shape, or beyond the maps.
        """
        if sizes is not None:
            _check(sizes, inputs)
        heights, widths = (None, None) if sizes is None else sizes.unbind(-1)
        inputs = _along(self.height, inputs.transpose(1, 2), heights).transpose(1, 2)
        return _along(self.width, inputs, widths)


def _along(
    layer: nn.Module, lines: Float[Tensor, "batch lines length dim"], lengths: Int[Tensor, " batch"] | None
) -> Float[Tensor, "batch lines length dim"]:
    """The layer on every line alone."""
    mask = None if lengths is None else Lengths(torch.repeat_interleave(lengths, lines.shape[1]))
    return layer(lines.flatten(0, 1), mask=mask).unflatten(0, lines.shape[:2])


def _check(sizes: Tensor, inputs: Tensor) -> None:
    batch, height, width, _ = inputs.shape
    if tuple(sizes.shape) != (batch, 2):
        raise ValueError(
            f"sizes gives the height and width of each map, (batch, 2) = ({batch}, 2), got {tuple(sizes.shape)}"
        )
    if torch.compiler.is_compiling():  # what stands in the tensor cannot be looked at
        return
    for row, (tall, wide) in enumerate(sizes.tolist()):
        if tall > height or wide > width:
            raise ValueError(f"map {row} is said to be {tall} x {wide}, but the maps are padded to {height} x {width}")
