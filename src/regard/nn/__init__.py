"""Layers built on the mechanism."""

from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import BlockCache, DecoderBlock, EncoderBlock, FeedForward, Residual
from regard.nn.cache import KeyValueCache
from regard.nn.dropout import Dropout
from regard.nn.positions import Learned, Rotary, Sinusoidal

__all__ = [
    "BlockCache",
    "DecoderBlock",
    "Dropout",
    "EncoderBlock",
    "FeedForward",
    "KeyValueCache",
    "Learned",
    "MultiHeadAttention",
    "Residual",
    "Rotary",
    "Sinusoidal",
]
