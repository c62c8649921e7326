"""Visual encoders: pictures in, maps of features at several strides out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.nn.attention import MultiHeadAttention
from regard.nn.axial import AxialAttention
from regard.nn.blocks import EncoderBlock, FeedForward
from regard.nn.convolution import ConvBlock, ConvNorm
from regard.nn.positions import SinusoidalMap

STRIDES = (4, 8, 16, 32)
Attends = Literal["none", "axial", "global"]
# Of the pictures of ImageNet, which pretrained models expect, and near those of any photographs.
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Pyramid:
    """The shape of a :class:`VisualEncoder`: a number for each of the strides 4, 8, 16 and 32.

    Args:
        dims: channels of the maps.
        convolutions: residual blocks of two convolutions.
        attention: blocks of attention after them.
        attends: among which places: axial (along rows and columns) or global.
        heads: attention heads are as many as `head_dim` goes into the channels.
        head_dim: width of a head.
        dropout: in the blocks of attention.
    """

    dims: tuple[int, ...] = (48, 96, 160, 256)
    convolutions: tuple[int, ...] = (2, 2, 1, 1)
    attention: tuple[int, ...] = (0, 1, 2, 2)
    attends: tuple[Attends, ...] = ("none", "axial", "global", "global")
    head_dim: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("dims", "convolutions", "attention", "attends"):
            given = getattr(self, name)
            if len(given) != len(STRIDES):
                raise ValueError(f"{name} has a value for each of the strides 4, 8, 16 and 32; got {given}")
        for dim, blocks, attends in zip(self.dims, self.attention, self.attends, strict=True):
            if blocks and attends == "none":
                raise ValueError(f"blocks of attention attend axially or globally, and attends has none for {dim}")
            if blocks and dim % self.head_dim:
                raise ValueError(f"dims with attention are multiples of head_dim ({self.head_dim}); got {dim}")


class Normalise(nn.Module):
    """`(x / 255 - mean) / spread`, channel by channel: what encoders read of pictures."""

    mean: Tensor
    spread: Tensor

    def __init__(self, mean: Sequence[float] = MEAN, spread: Sequence[float] = SPREAD) -> None:
        super().__init__()
        self.register_buffer("mean", 255.0 * torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("spread", 255.0 * torch.tensor(spread).view(-1, 1, 1), persistent=False)

    def forward(self, pictures: Tensor) -> Float[Tensor, "batch 3 height width"]:
        return (pictures.to(self.mean.dtype) - self.mean) / self.spread


class VisualEncoder(nn.Module):
    """Convolutions at high resolution, attention at low: maps at strides 4, 8, 16 and 32 (CoAtNet: Dai et al. 2021).

    A stem of two convolutions brings the picture to stride 4. Each stage has residual blocks of convolutions, then
    blocks of attention among all its places or along its rows and columns; a convolution of stride 2 leads to the
    next. Sizes are rounded up, so that a picture may have any.

    Args:
        shape: of the stages.
        levels: how many of them there are, from the finest; what nobody reads need not be computed.
    """

    def __init__(self, shape: Pyramid, levels: int = len(STRIDES)) -> None:
        super().__init__()
        self.dims, self.strides = shape.dims[:levels], STRIDES[:levels]
        self._global = [n for n in range(levels) if shape.attends[n] == "global" and shape.attention[n]]
        first = shape.dims[0]
        self.normalise = Normalise()
        half = max(16, first // 2)
        self.stem = nn.Sequential(ConvNorm(3, half, stride=2), ConvNorm(half, first, stride=2))
        self.stages = nn.ModuleList()
        for number, dim in enumerate(self.dims):
            down = [ConvNorm(shape.dims[number - 1], dim, stride=2)] if number else []
            blocks = [ConvBlock(dim) for _ in range(shape.convolutions[number])]
            attention = Attention(shape, number) if shape.attention[number] else nn.Identity()
            self.stages.append(nn.Sequential(*down, *blocks, attention))

    @property
    def global_layers(self) -> dict[str, int]:
        """Patterns of the layers that attend among all places of a map, and the stride of the map."""
        return {f"stages.{number}.*": STRIDES[number] for number in self._global}

    def forward(self, pictures: Tensor) -> list[Float[Tensor, "batch _dim _height _width"]]:
        """The maps of pictures `(batch, 3, height, width)`, whose values are 0 to 255, by ascending stride."""
        # Channels last: the layout in which CPUs compute convolutions.
        hidden = self.stem(self.normalise(pictures).contiguous(memory_format=torch.channels_last))
        maps = []
        for stage in self.stages:
            hidden = stage(hidden)
            maps.append(hidden)
        return maps


class Attention(nn.Module):
    """Blocks of attention on the map of a stage, behind the positions of its places."""

    def __init__(self, shape: Pyramid, number: int) -> None:
        super().__init__()
        dim = shape.dims[number]

        def block() -> EncoderBlock:
            attention = MultiHeadAttention(dim, dim // shape.head_dim)
            feed_forward = FeedForward(dim, 2 * dim, activation="gelu")
            return EncoderBlock(attention, feed_forward, pre_norm=True, dropout=shape.dropout)

        axial = shape.attends[number] == "axial"
        self.position = SinusoidalMap(dim)
        self.blocks = nn.ModuleList(
            AxialAttention(block(), block()) if axial else block() for _ in range(shape.attention[number])
        )
        self.norm = nn.LayerNorm(dim)

    def forward(self, inputs: Float[Tensor, "batch dim height width"]) -> Float[Tensor, "batch dim height width"]:
        hidden = self.position(inputs.permute(0, 2, 3, 1))
        for block in self.blocks:
            axial = isinstance(block, AxialAttention)
            hidden = block(hidden) if axial else block(hidden.flatten(1, 2)).view_as(hidden)
        return self.norm(hidden).permute(0, 3, 1, 2)


@dataclass(frozen=True, kw_only=True)
class Patches:
    """The shape of a :class:`VisionTransformer`."""

    dim: int = 192
    layers: int = 6
    heads: int = 3
    feed_forward: int = 384
    patch: int = 16
    dropout: float = 0.0


class MapsOfOne(nn.Module):
    """Maps of a quarter, a half and twice the stride of one map, and that one (ViTDet: Li et al. 2022).

    Args:
        dim: channels of all of them.
        patch: stride of the one.
    """

    def __init__(self, dim: int, patch: int) -> None:
        super().__init__()
        self.dims, self.strides = (dim,) * 4, (patch / 4, patch / 2, patch, 2 * patch)

        def twice() -> nn.ConvTranspose2d:
            return nn.ConvTranspose2d(dim, dim, 2, stride=2)

        self.finest, self.finer = nn.Sequential(twice(), nn.GELU(), twice()), twice()
        self.coarser = nn.MaxPool2d(2, ceil_mode=True)
        self.patch = patch

    def forward(self, one: Tensor, height: int, width: int) -> list[Float[Tensor, "batch _dim _height _width"]]:
        """The maps, by ascending stride, cut to a picture of this height and width, which patches may reach beyond."""
        maps = []
        patch = self.patch
        finer = ((4, patch, self.finest(one)), (2, patch, self.finer(one)))
        for times, over, made in (*finer, (1, patch, one), (1, 2 * patch, self.coarser(one))):
            rows, columns = (-(-length * times // over) for length in (height, width))
            maps.append(made[..., :rows, :columns])
        return maps


class VisionTransformer(nn.Module):
    """A Transformer encoder over the patches of a picture (Dosovitskiy et al. 2021), with maps of finer strides behind.

    A picture whose sides are no multiples of the patch is filled up with the mean colour.

    Args:
        shape: of the encoder.
    """

    def __init__(self, shape: Patches) -> None:
        super().__init__()
        dim, patch = shape.dim, shape.patch
        self.patch, self.pyramid = patch, MapsOfOne(dim, patch)
        self.dims, self.strides = self.pyramid.dims, self.pyramid.strides
        self.normalise, self.position = Normalise(), SinusoidalMap(dim)
        self.embed = nn.Conv2d(3, dim, patch, stride=patch)
        self.layers = nn.ModuleList(
            EncoderBlock(
                MultiHeadAttention(dim, shape.heads),
                FeedForward(dim, shape.feed_forward, activation="gelu"),
                pre_norm=True,
                dropout=shape.dropout,
            )
            for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(dim)

    @property
    def global_layers(self) -> dict[str, int]:
        """Patterns of the layers that attend among all places of a map, and the stride of the map."""
        return {"layers.*": self.patch}

    def forward(self, pictures: Tensor) -> list[Float[Tensor, "batch _dim _height _width"]]:
        """The maps of pictures `(batch, 3, height, width)`, whose values are 0 to 255, by ascending stride."""
        height, width = pictures.shape[-2:]
        filled = nn.functional.pad(self.normalise(pictures), (0, -width % self.patch, 0, -height % self.patch))
        hidden = self.position(self.embed(filled).permute(0, 2, 3, 1))
        size = hidden.shape
        hidden = hidden.flatten(1, 2)
        for layer in self.layers:
            hidden = layer(hidden)
        return self.pyramid(self.norm(hidden).view(size).permute(0, 3, 1, 2), height, width)
