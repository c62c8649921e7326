"""Layers built on the mechanism."""

from regard.nn.attention import MultiHeadAttention
from regard.nn.axial import AxialAttention
from regard.nn.blocks import BlockCache, DecoderBlock, EncoderBlock, FeedForward, Residual
from regard.nn.cache import KeyValueCache
from regard.nn.convolution import ConvBlock, ConvNorm
from regard.nn.dropout import Dropout
from regard.nn.hopfield import Hopfield
from regard.nn.nonlocal_block import NonLocalBlock
from regard.nn.paged_cache import PagedCache
from regard.nn.pooling import AdditivePooling
from regard.nn.positions import Learned, Rotary, Sinusoidal, SinusoidalMap
from regard.nn.sets import InducedSetAttentionBlock, PoolingByAttention, SetAttentionBlock

__all__ = [
    "AdditivePooling",
    "AxialAttention",
    "BlockCache",
    "ConvBlock",
    "ConvNorm",
    "DecoderBlock",
    "Dropout",
    "EncoderBlock",
    "FeedForward",
    "Hopfield",
    "InducedSetAttentionBlock",
    "KeyValueCache",
    "Learned",
    "MultiHeadAttention",
    "NonLocalBlock",
    "PagedCache",
    "PoolingByAttention",
    "Residual",
    "Rotary",
    "SetAttentionBlock",
    "Sinusoidal",
    "SinusoidalMap",
]
