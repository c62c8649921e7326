"""The Transformer (Vaswani et al. 2017): encoder, decoder, and the two together."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.api import plan
from regard.attention.masks import Causal, Global, Mask, Window
from regard.attention.padding import Documents, Lengths
from regard.models.packed import PackedDecoder
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import BlockCache, DecoderBlock, EncoderBlock, FeedForward
from regard.nn.dropout import Dropout
from regard.nn.positions import Learned, Rotary, Sinusoidal

Norm = Literal["pre", "post"]
Positions = Literal["sinusoidal", "learned", "rotary"]


@dataclass(frozen=True, kw_only=True)
class Layers:
    """The shape of an encoder or a decoder."""

    dim: int = 128
    heads: int = 4
    kv_heads: int | None = None
    feed_forward: int = 256
    layers: int = 4
    dropout: float = 0.1
    attention_dropout: float = 0.0
    activation: str = "relu"
    norm: Norm = "pre"
    positions: Positions = "sinusoidal"
    longest: int = 1024  # positions that "learned" has
    window: int | None = None  # keys that an encoder's query sees to either side; all when None
    global_tokens: int = 1  # beside a window: the first tokens, which see all and are seen by all
    backend: str = "auto"

    def attention(self, *, cross: bool = False) -> MultiHeadAttention:
        """One attention layer of this shape; only self-attention turns by positions."""
        return MultiHeadAttention(
            self.dim,
            self.heads,
            kv_heads=self.kv_heads,
            mask=None,
            rotary=Rotary(self.dim // self.heads) if self.positions == "rotary" and not cross else None,
            dropout=self.attention_dropout,
            backend=self.backend,
        )

    def packs(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> bool:
        """Whether packed batches are worth it there: `native` skips what lies in other documents, the rest mask it."""
        query = torch.empty(1, self.heads, 2, self.dim // self.heads, device=device, dtype=dtype)
        key = query[:, : self.kv_heads]
        packed = plan(
            query, key, key, mask=Causal() & Documents([1, 1]), dropout=self.attention_dropout, backend=self.backend
        )
        return packed.backend == "native"

    def mlp(self) -> FeedForward:
        return FeedForward(self.dim, self.feed_forward, activation=self.activation, dropout=0.0)

    def position(self) -> nn.Module | None:
        """The module that adds positions to embeddings, if there is one."""
        if self.positions == "sinusoidal":
            return Sinusoidal(self.dim)
        return Learned(self.dim, self.longest) if self.positions == "learned" else None


class Embedding(nn.Module):
    """Tokens as vectors, scaled by sqrt(dim), with positions added, and dropout."""

    def __init__(self, table: nn.Embedding, shape: Layers) -> None:
        super().__init__()
        self.table, self.position, self.dropout = table, shape.position(), Dropout(shape.dropout)
        self.scale = shape.dim**0.5

    def forward(
        self, tokens: Int[Tensor, "batch length"], position: int | Int[Tensor, "batch length"] = 0
    ) -> Float[Tensor, "batch length dim"]:
        vectors = self.table(tokens) * self.scale
        return self.dropout(vectors if self.position is None else self.position(vectors, position))


class Encoder(nn.Module):
    """`layers` blocks of self-attention over the whole input, or over a window of it and its first tokens."""

    def __init__(self, embedding: Embedding, shape: Layers) -> None:
        super().__init__()
        self.embedding = embedding
        self.layers = nn.ModuleList(
            EncoderBlock(shape.attention(), shape.mlp(), pre_norm=shape.norm == "pre", dropout=shape.dropout)
            for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.dim) if shape.norm == "pre" else nn.Identity()
        self.pattern = None if shape.window is None else Window(shape.window) | Global(shape.global_tokens)

    def forward(
        self, tokens: Int[Tensor, "batch length"], lengths: Int[Tensor, " sequences"], *, packed: bool = False
    ) -> Float[Tensor, "batch length dim"]:
        """Encode sequences of `lengths` tokens: each in a row, padded on the right; or packed, end to end in one."""
        own = Documents(lengths) if packed else Lengths(lengths)
        hidden = self.embedding(tokens, own.positions(tokens.shape[1]) if isinstance(own, Documents) else 0)
        mask: Mask = own if self.pattern is None else own & self.pattern
        for layer in self.layers:
            hidden = layer(hidden, mask=mask)
        return self.norm(hidden)


class Decoder(nn.Module):
    """Blocks of causal self-attention, with attention to a memory unless `cross` is False (a language model)."""

    def __init__(self, embedding: Embedding, shape: Layers, *, cross: bool = True) -> None:
        super().__init__()
        self.embedding = embedding
        self.causal = Causal()
        self.layers = nn.ModuleList(
            DecoderBlock(
                shape.attention(),
                shape.mlp(),
                cross=shape.attention(cross=True) if cross else None,
                pre_norm=shape.norm == "pre",
                dropout=shape.dropout,
            )
            for _ in range(shape.layers)
        )
        self.norm = nn.LayerNorm(shape.dim) if shape.norm == "pre" else nn.Identity()

    def forward(
        self,
        tokens: Int[Tensor, "batch length"],
        memory: Float[Tensor, "batch source dim"] | None = None,
        *,
        memory_mask: Lengths | Documents | None = None,
        caches: list[BlockCache] | None = None,
        documents: Documents | None = None,
    ) -> Float[Tensor, "batch length dim"]:
        """Hidden states of `tokens`, which follow what the caches hold, or are packed `documents` end to end."""
        mask: Mask = self.causal
        position: int | Tensor = 0 if caches is None else caches[0].own.length
        if documents is not None:
            mask, position = mask & documents, documents.positions(tokens.shape[1])
        hidden = self.embedding(tokens, position)
        for index, layer in enumerate(self.layers):
            cache = None if caches is None else caches[index]
            hidden = layer(hidden, memory, mask=mask, memory_mask=memory_mask, cache=cache)
        return self.norm(hidden)


@dataclass(eq=False)
class TransformerState:
    """What the decoder keeps between steps: the memory, its lengths, and one cache a block."""

    memory: Float[Tensor, "rows source dim"]
    lengths: Int[Tensor, " rows"]
    caches: list[BlockCache]
    mask: Lengths = field(init=False)

    def __post_init__(self) -> None:
        self.mask = Lengths(self.lengths)

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        self.memory, self.lengths = self.memory.index_select(0, rows), self.lengths.index_select(0, rows)
        self.mask = Lengths(self.lengths)
        for cache in self.caches:
            cache.select(rows)


class Transformer(nn.Module):
    """Encoder and decoder, for translation and whatever else turns one sequence into another.

    Args:
        source_vocabulary, target_vocabulary: numbers of tokens.
        share: one table for the source, the target and the output projection (Press and Wolf 2017); it takes one
            vocabulary. Otherwise the target's table and the output projection are shared.
        encoder, decoder: their shapes; `dim` must agree.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        *,
        encoder: Layers,
        decoder: Layers,
        share: bool = True,
    ) -> None:
        super().__init__()
        if encoder.dim != decoder.dim:
            raise ValueError(f"encoder and decoder must have one dim, got {encoder.dim} and {decoder.dim}")
        if share and source_vocabulary != target_vocabulary:
            raise ValueError(
                f"share=True needs one vocabulary, got {source_vocabulary} and {target_vocabulary} tokens; "
                "use a joint tokenizer, or share=False"
            )
        target = table(target_vocabulary, decoder.dim)
        source = target if share else table(source_vocabulary, encoder.dim)
        self.encoder = Encoder(Embedding(source, encoder), encoder)
        self.decoder = Decoder(Embedding(target, decoder), decoder)

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The output projection, shared with the target's embedding."""
        return self.decoder.embedding.table.weight

    def forward(
        self,
        source: Int[Tensor, "rows source"],
        source_lengths: Int[Tensor, " batch"],
        target: Int[Tensor, "rows target"],
        target_lengths: Int[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "rows target dim"]:
        """Teacher forcing: the hidden state after each target token; logits are `hidden @ output_weight.T`.

        Where `target_lengths` are given, the batch is packed: `source` is `(1, sum of source_lengths)` and `target`
        `(1, sum of target_lengths)`, all pairs end to end, and no place is spent on padding.
        """
        if target_lengths is None:
            memory = self.encoder(source, source_lengths)
            return self.decoder(target, memory, memory_mask=Lengths(source_lengths))
        memory = self.encoder(source, source_lengths, packed=True)
        pairs = Documents(target_lengths, source_lengths)
        return self.decoder(target, memory, memory_mask=pairs, documents=Documents(target_lengths))

    def encode(
        self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]
    ) -> TransformerState | PackedDecoder:
        """Read the source, and be ready to decode."""
        state = self.begin(source, source_lengths)
        if PackedDecoder.fits(self.decoder, state.memory):
            return PackedDecoder(self.decoder, self.output_weight, state.memory, source_lengths)
        return state

    def begin(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> TransformerState:
        """What the decoder itself keeps between its steps."""
        memory = self.encoder(source, source_lengths)
        return TransformerState(memory, source_lengths, [BlockCache() for _ in self.decoder.layers])

    def step(
        self, tokens: Int[Tensor, " rows"], state: TransformerState | PackedDecoder
    ) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`, the next of each row; advances the state in place."""
        if isinstance(state, PackedDecoder):
            return state.step(tokens)
        hidden = self.decoder(tokens.unsqueeze(1), state.memory, memory_mask=state.mask, caches=state.caches)
        return hidden.squeeze(1) @ self.output_weight.T


def table(vocabulary: int, dim: int) -> nn.Embedding:
    """A vector for each token; sqrt(dim) times it, and logits from it, start near unit size."""
    embedding = nn.Embedding(vocabulary, dim)
    nn.init.normal_(embedding.weight, std=dim**-0.5)
    return embedding
