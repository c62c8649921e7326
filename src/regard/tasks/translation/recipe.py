"""Everything that decides a translation run, as closed, typed values: one source for YAML, flags and their help."""

from dataclasses import dataclass, field
from typing import Literal

import torch

from regard.decoding import Beam
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.transformer import Layers, Transformer
from regard.training import TrainingOptions
from regard.training.machine import choose_device, choose_precision

Architecture = Literal["transformer", "recurrent", "bahdanau", "luong-general", "luong-dot"]
Metric = Literal["bleu", "chrf", "exact"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the sentences are, inside the data folder.

    Args:
        source: The source language: an ending (train.en), a column or a key.
        target: The target language.
        train: Name of the training pairs (train.en and train.de, train.tsv or train.jsonl; plain or .gz).
        validation: Name of the validation pairs.
        test: Name of the test pairs, which only `regard evaluate` reads.
    """

    source: str = "en"
    target: str = "de"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class SubWords:
    """How text is cut into sub-words.

    Args:
        vocabulary: Greatest number of tokens, of both languages together where joint.
        joint: One vocabulary for both languages.
        lowercase: Lower-case everything; translations are then lower-cased too.
        characters: Keep the N most frequent characters alone (null: all).
        dropout: Probability of leaving out a merge in training, so that words are cut anew each epoch (0: never).
    """

    vocabulary: int = 8000
    joint: bool = True
    lowercase: bool = False
    characters: int | None = None
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.dropout <= 1.0:
            raise ValueError(
                f"sub_words.dropout is a probability, 0 <= dropout <= 1; got {self.dropout}; "
                "usual is --sub_words.dropout 0.1"
            )


@dataclass(frozen=True, kw_only=True)
class Model:
    """The model.

    Args:
        architecture: transformer, or what it replaced: recurrent (no attention), bahdanau, luong-general, luong-dot.
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
        share: One table for source, target and output (transformer with a joint vocabulary).
    """

    architecture: Architecture = "transformer"
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
    share: bool = True

    def build(self, source_vocabulary: int, target_vocabulary: int, *, joint: bool) -> Transformer | RecurrentSeq2Seq:
        """The model, with new weights."""
        if self.architecture != "transformer":
            attention = {"recurrent": "none", "luong-general": "general", "luong-dot": "dot"}
            return RecurrentSeq2Seq(
                source_vocabulary,
                target_vocabulary,
                dim=self.dim,
                hidden=self.hidden,
                layers=self.layers,
                dropout=self.dropout,
                attention=attention.get(self.architecture, "bahdanau"),  # type: ignore[arg-type]
            )
        return Transformer(
            source_vocabulary, target_vocabulary, encoder=self.shape, decoder=self.shape, share=self.share and joint
        )

    @property
    def shape(self) -> Layers:
        """The Transformer's encoder and decoder."""
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
        """Whether the model trains on packed batches there, without padding; a recurrent one reads rows."""
        device = choose_device(training.device)
        precision = choose_precision(training.precision, device)
        return self.architecture == "transformer" and self.shape.packs(device, getattr(torch, precision))


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A translation run.

    Args:
        data: The folder with the sentences.
        files: What is called how in it.
        sub_words: How text is cut.
        model: The model.
        batch_tokens: Tokens of a batch, padding included (counted also where the batch is packed and has none).
        label_smoothing: Share of the probability that is spread over all tokens.
        metric: What validation maximises: bleu, chrf or exact (the share of outputs that are right to the letter).
        training: Optimiser, schedule, time.
        decoding: How `evaluate`, `predict` and `look` search; validation in training is greedy.
    """

    data: str
    files: Files = field(default_factory=Files)
    sub_words: SubWords = field(default_factory=SubWords)
    model: Model = field(default_factory=Model)
    batch_tokens: int = 2048
    label_smoothing: float = 0.1
    metric: Metric = "bleu"
    training: TrainingOptions = field(default_factory=TrainingOptions)
    decoding: Beam = field(default_factory=Beam)
