"""A segmenter: pixels and classes as vectors, each class a query that attends to the picture before it is compared."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import DecoderBlock, FeedForward
from regard.nn.convolution import ConvNorm
from regard.nn.positions import SinusoidalMap

Map = Float[Tensor, "batch dim height width"]


class PixelDecoder(nn.Module):
    """From coarse to fine, each map joined by the next finer one (feature pyramid: Lin et al. 2017).

    Args:
        dims: channels of the encoder's maps, by ascending stride.
        dim: channels of what comes out.
    """

    def __init__(self, dims: Sequence[int], dim: int) -> None:
        super().__init__()
        self.skips = nn.ModuleList(ConvNorm(channels, dim, 1, relu=False) for channels in dims)
        self.joins = nn.ModuleList(ConvNorm(dim, dim) for _ in dims[:-1])

    def forward(self, maps: Sequence[Tensor]) -> list[Map]:
        """The joined maps, by ascending stride."""
        joined = [torch.relu(self.skips[-1](maps[-1]))]
        for level in range(len(maps) - 2, -1, -1):
            fine = self.skips[level](maps[level])
            coarse = functional.interpolate(joined[0], fine.shape[-2:], mode="bilinear", align_corners=False)
            joined.insert(0, self.joins[level](torch.relu(fine + coarse)))
        return joined


class Segmenter(nn.Module):
    """`logit[c, y, x] = <q_c, v_yx> / sqrt(d) + b_c`: the vector of a class by the vector of a pixel.

    The vectors of pixels come from a pyramid over the encoder's maps, at the finest of their strides. Those of classes
    begin as learned queries, which attend to each other and to the picture at a coarse stride, layer by layer: what a
    class looks like is looked up in the picture before it is compared with its pixels (Segmenter: Strudel et al. 2021;
    MaskFormer: Cheng et al. 2021).

    Args:
        encoder: gives maps of `dims` channels at `strides`.
        classes: how many there are.
        dim: of both kinds of vectors.
        layers: blocks of the decoder of classes; 0: each class has one vector for all pictures.
        heads: of its attention.
        dropout: of the decoder's layers, and of the features of pixels.
        memory: which of the maps the classes attend to; 2 is the third finest, of stride 16.
    """

    def __init__(
        self,
        encoder: Any,
        classes: int,
        *,
        dim: int = 96,
        layers: int = 2,
        heads: int = 4,
        dropout: float = 0.1,
        memory: int = 2,
    ) -> None:
        super().__init__()
        self.encoder, self.pixels, self.memory = encoder, PixelDecoder(encoder.dims, dim), memory
        self.position, self.dropout = SinusoidalMap(dim), nn.Dropout2d(dropout)
        self.queries = nn.Parameter(torch.randn(classes, dim) * dim**-0.5)
        self.layers = nn.ModuleList(
            DecoderBlock(
                MultiHeadAttention(dim, heads),
                FeedForward(dim, 2 * dim, activation="gelu"),
                cross=MultiHeadAttention(dim, heads),
                pre_norm=True,
                dropout=dropout,
            )
            for _ in range(layers)
        )
        self.norm, self.bias = nn.LayerNorm(dim), nn.Parameter(torch.zeros(classes))
        self.coarse = nn.Conv2d(dim, classes, 1)

    def forward(self, pictures: Tensor) -> Float[Tensor, "batch classes height width"]:
        """The logits of pictures `(batch, 3, height, width)`, whose values are 0 to 255, at the finest stride."""
        return self.with_coarse(pictures)[0]

    def with_coarse(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """The same, and logits read off the map that classes attend to: training is told of both (Zhao et al. 2017)."""
        maps = self.pixels(self.encoder(pictures))
        coarse = maps[self.memory]
        classes = self.norm(self._classes(coarse))
        pixels = self.dropout(maps[0])
        logits = torch.einsum("bcd,bdhw->bchw", classes * classes.shape[-1] ** -0.5, pixels) + self.bias.view(-1, 1, 1)
        return logits, self.coarse(coarse)

    def _classes(self, coarse: Map) -> Float[Tensor, "batch classes dim"]:
        """The vector of each class, after it has seen the picture."""
        memory = self.position(coarse.permute(0, 2, 3, 1)).flatten(1, 2)
        classes = self.queries.expand(coarse.shape[0], -1, -1)
        for layer in self.layers:
            classes = layer(classes, memory)
        return classes
