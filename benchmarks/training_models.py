"""What `training_speed.py` trains: Regard, `torch.nn.Transformer` and Marian of `transformers`, in each of their forms.

All have one shape, tied embeddings, dropout, label smoothing, optimiser (fused AdamW) and clipping, and weights in
float32.
"""

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from regard.data.batches import Batch, collate
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy

SMOOTHING, DROPOUT, LONGEST = 0.1, 0.3, 256
LENGTHS = (12, 16, 24)  # a batch of each


@dataclass(frozen=True)
class Shape:
    """Of the encoder and the decoder alike."""

    dim: int
    heads: int
    feed_forward: int
    layers: int
    vocabulary: int

    @classmethod
    def of(cls, dim: int, vocabulary: int) -> "Shape":
        heads, feed_forward, layers = {128: (4, 256, 4), 256: (4, 1024, 6), 512: (8, 2048, 6)}[dim]
        return cls(dim, heads, feed_forward, layers, vocabulary)

    def __str__(self) -> str:
        return (
            f"{self.layers}+{self.layers} layers, width {self.dim}, {self.heads} heads, "
            f"feed-forward {self.feed_forward}, {self.vocabulary:,} tokens"
        )


@dataclass(frozen=True)
class Form:
    """One way to train a model; the variant is Marian's attention, or how Regard's batches are laid out."""

    model: str
    variant: str = ""
    bf16: bool = False
    compiled: bool = False

    @property
    def packed(self) -> bool:
        return self.variant == "packed"

    def __str__(self) -> str:
        words = ("bf16 autocast" if self.bf16 else "float32", self.variant, "compiled" if self.compiled else "eager")
        return ", ".join(filter(None, words))


class Regard(nn.Module):
    """Regard's Transformer and its loss."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        layers = Layers(
            dim=shape.dim,
            heads=shape.heads,
            feed_forward=shape.feed_forward,
            layers=shape.layers,
            dropout=DROPOUT,
            norm="post",
        )
        self.model = Transformer(shape.vocabulary, shape.vocabulary, encoder=layers, decoder=layers)

    def loss(self, batch: Batch) -> Tensor:
        hidden = self.model(*batch.inputs)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            batch.target_out.flatten(),
            label_smoothing=SMOOTHING,
            ignore=PAD,
        )


class TorchTransformer(nn.Module):
    """`torch.nn.Transformer` with what it leaves to its user: embeddings, positions, output."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        dim = shape.dim
        self.table = nn.Embedding(shape.vocabulary, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)
        self.body = nn.Transformer(
            dim, shape.heads, shape.layers, shape.layers, shape.feed_forward, dropout=DROPOUT, batch_first=True
        )
        self.dropout = nn.Dropout(DROPOUT)
        position = torch.arange(LONGEST).unsqueeze(1) * torch.exp(torch.arange(0, dim, 2) * (-math.log(1e4) / dim))
        self.register_buffer("positions", torch.stack((position.sin(), position.cos()), -1).flatten(1))

    def embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.table(tokens) * self.table.embedding_dim**0.5 + self.positions[: tokens.shape[1]])

    def loss(self, batch: Batch) -> Tensor:
        padding = batch.source == PAD
        causal = nn.Transformer.generate_square_subsequent_mask(batch.target_in.shape[1])
        hidden = self.body(
            self.embed(batch.source),
            self.embed(batch.target_in),
            tgt_mask=causal,
            tgt_is_causal=True,
            src_key_padding_mask=padding,
            memory_key_padding_mask=padding,
        )
        return cross_entropy(hidden @ self.table.weight.T, batch)


class Marian(nn.Module):
    """`transformers.MarianMTModel`, trained as its users do, with "eager" or "sdpa" attention."""

    def __init__(self, shape: Shape, attention: str) -> None:
        super().__init__()
        from transformers import MarianConfig, MarianMTModel

        config = MarianConfig(
            vocab_size=shape.vocabulary,
            d_model=shape.dim,
            encoder_layers=shape.layers,
            decoder_layers=shape.layers,
            encoder_attention_heads=shape.heads,
            decoder_attention_heads=shape.heads,
            encoder_ffn_dim=shape.feed_forward,
            decoder_ffn_dim=shape.feed_forward,
            dropout=DROPOUT,
            activation_function="relu",
            max_position_embeddings=LONGEST,
            pad_token_id=PAD,
            eos_token_id=END,
            forced_eos_token_id=END,
            decoder_start_token_id=START,
            scale_embedding=True,
            use_cache=False,
            attn_implementation=attention,
        )
        self.model = MarianMTModel(config)

    def loss(self, batch: Batch) -> Tensor:
        mask = (batch.source != PAD).long()
        logits = self.model(input_ids=batch.source, attention_mask=mask, decoder_input_ids=batch.target_in).logits
        return cross_entropy(logits, batch)


def cross_entropy(logits: Tensor, batch: Batch) -> Tensor:
    return functional.cross_entropy(
        logits.flatten(0, 1), batch.target_out.flatten(), ignore_index=PAD, label_smoothing=SMOOTHING
    )


VARIANTS = {"regard": ("packed", "padded"), "torch.nn.Transformer": ("",), "marian": ("eager attention", "sdpa")}


def forms(model: str, *, compiled: bool) -> list[Form]:
    """The forms of a model; Regard's padded batches, which are no faster, in one alone."""
    return [
        Form(model, variant, bf16, compile)
        for variant in VARIANTS[model]
        for bf16 in (False, True)
        for compile in ((False, True) if compiled else (False,))
        if variant != "padded" or not (bf16 or compile)
    ]


class Trainer:
    """A model in one form, and its steps over batches; `losses` has the loss of every step."""

    def __init__(self, form: Form, shape: Shape) -> None:
        torch.manual_seed(0)
        self.form = form
        models: dict[str, Callable[[], nn.Module]] = {
            "regard": lambda: Regard(shape),
            "torch.nn.Transformer": lambda: TorchTransformer(shape),
            "marian": lambda: Marian(shape, form.variant.split()[0]),
        }
        self.model = models[form.model]()
        self.loss: Callable[[Batch], Tensor] = self.model.loss
        if form.compiled:
            self.loss = torch.compile(self.loss, dynamic=False)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=1e-3, fused=True)
        self.losses: list[float] = []

    def __call__(self, batches: list[Batch]) -> None:
        for batch in batches:
            self.optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=self.form.bf16):
                loss = self.loss(batch)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.optimizer.step()
            self.losses.append(loss.item())

    @property
    def weights(self) -> int:
        return sum(parameter.numel() for parameter in self.model.parameters())

    @property
    def learned(self) -> str:
        return f"{self.losses[0]:.2f} to {self.losses[-1]:.2f}"


def corpus(tokens: int, vocabulary: int) -> list[list[Batch]]:
    """Random sentence pairs, a batch of `tokens` places for each of LENGTHS: all of them padded, and packed."""
    random.seed(0)
    pairs = [[_sentences(max(tokens // length, 1), length, vocabulary) for _ in range(2)] for length in LENGTHS]
    return [[collate(*sides, packed=packed) for sides in pairs] for packed in (False, True)]


def _sentences(rows: int, length: int, vocabulary: int) -> list[list[int]]:
    """Random sentences of about `length` tokens, END included."""
    counts = [random.randint(max(length - 3, 1), length) - 1 for _ in range(rows)]
    return [[random.randrange(4, vocabulary) for _ in range(count)] for count in counts]
