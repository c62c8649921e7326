"""The shape of a task's Transformer, as options of its recipe."""

from dataclasses import dataclass
from typing import Literal

import torch

from regard.models.transformer import Layers
from regard.training import TrainingOptions
from regard.training.machine import choose_device, choose_precision


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The options that every task's Transformer has.

    Args:
        dim: Width of embeddings, and of the Transformer's blocks.
        layers: Blocks of the Transformer's encoder, and of its decoder; or recurrent layers of the encoder.
        heads: Attention heads (transformer).
        kv_heads: Key and value heads, fewer than heads for grouped queries (transformer; null: as many as heads).
        feed_forward: Width inside the feed-forward layers (transformer).
        hidden: Width of the recurrent states (recurrent).
        dropout: Probability of dropping a feature.
        attention_dropout: Probability of dropping an attention weight (transformer).
        norm: pre or post: layer norm before each layer, or after each sum (transformer).
        positions: sinusoidal, learned or rotary (transformer).
        activation: relu, gelu or silu (transformer).
    """

    dim: int = 128
    layers: int = 4
    heads: int = 4
    kv_heads: int | None = None
    feed_forward: int = 256
    hidden: int = 256
    dropout: float = 0.2
    attention_dropout: float = 0.0
    norm: Literal["pre", "post"] = "pre"
    positions: Literal["sinusoidal", "learned", "rotary"] = "sinusoidal"
    activation: Literal["relu", "gelu", "silu"] = "relu"

    @property
    def shape(self) -> Layers:
        """The Transformer's encoder, and its decoder."""
        return Layers(
            dim=self.dim,
            heads=self.heads,
            kv_heads=self.kv_heads,
            feed_forward=self.feed_forward,
            layers=self.layers,
            dropout=self.dropout,
            attention_dropout=self.attention_dropout,
            activation=self.activation,
            norm=self.norm,
            positions=self.positions,
        )

    def packs(self, training: TrainingOptions) -> bool:
        """Whether a Transformer of this shape trains on packed batches there, without padding."""
        device = choose_device(training.device)
        precision = choose_precision(training.precision, device)
        return self.shape.packs(device, getattr(torch, precision))
