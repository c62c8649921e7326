"""Captioners: a picture in, a sentence out; each word attends to the places of the picture."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.api import attend, observe
from regard.attention.normalizers import Hard, Normalizer, Softmax
from regard.attention.observations import Received
from regard.attention.scores import Additive, Prepared
from regard.models.transformer import Decoder, Embedding, Layers, TransformerState, table
from regard.nn.blocks import BlockCache
from regard.nn.dropout import Dropout
from regard.nn.positions import SinusoidalMap

Places = Float[Tensor, "batch places dim"]


class PictureMemory(nn.Module):
    """The places of one of a visual encoder's maps as a sequence, each with its row and column, `dim` features wide.

    Args:
        encoder: gives maps of `dims` channels at `strides`.
        dim: of what comes out.
        level: which of the maps; 2 is the third finest, of stride 16.
    """

    def __init__(self, encoder: Any, dim: int, level: int) -> None:
        super().__init__()
        self.encoder, self.level = encoder, level
        self.bring, self.norm, self.position = (
            nn.Linear(encoder.dims[level], dim),
            nn.LayerNorm(dim),
            SinusoidalMap(dim),
        )

    def forward(self, pictures: Tensor) -> Places:
        """The places of pictures `(batch, 3, height, width)` of values 0 to 255, row by row."""
        chosen = self.encoder(pictures)[self.level]
        return self.position(self.norm(self.bring(chosen.permute(0, 2, 3, 1)))).flatten(1, 2)


class Captioner(nn.Module):
    """A Transformer decoder over the places of a picture; of the protocol of `models/seq2seq.py`, pictures its sources.

    Args:
        encoder: gives maps of `dims` channels at `strides`.
        vocabulary: number of tokens.
        shape: of the decoder.
        level: which of the encoder's maps is attended to.
    """

    def __init__(self, encoder: Any, vocabulary: int, shape: Layers, *, level: int = 2) -> None:
        super().__init__()
        self.memory = PictureMemory(encoder, shape.dim, level)
        self.decoder = Decoder(Embedding(table(vocabulary, shape.dim), shape), shape)

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The output projection, shared with the embedding."""
        return self.decoder.embedding.table.weight

    def forward(
        self, pictures: Tensor, counts: Int[Tensor, " batch"], target: Int[Tensor, "captions target"]
    ) -> Float[Tensor, "captions target dim"]:
        """Teacher forcing: the hidden state after each token of captions, `counts` of them of each picture."""
        return self.decoder(target, self.memory(pictures).repeat_interleave(counts, 0))

    def encode(self, pictures: Tensor, counts: Int[Tensor, " batch"]) -> TransformerState:
        """Look at the pictures, and be ready to say one thing of each; `counts` is not read."""
        memory = self.memory(pictures)
        lengths = torch.full((memory.shape[0],), memory.shape[1], device=memory.device)
        return TransformerState(memory, lengths, [BlockCache() for _ in self.decoder.layers])

    def step(self, tokens: Int[Tensor, " rows"], state: TransformerState) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`, the next of each row; advances the state in place."""
        hidden = self.decoder(tokens.unsqueeze(1), state.memory, memory_mask=state.mask, caches=state.caches)
        return hidden.squeeze(1) @ self.output_weight.T


@dataclass(eq=False)
class LookingState:
    """What the recurrent decoder keeps between steps: its state and cell, and the places that it looks at."""

    hidden: Float[Tensor, "rows hidden"]
    cell: Float[Tensor, "rows hidden"]
    places: Float[Tensor, "rows places dim"]
    keys: Prepared

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        self.hidden, self.cell, self.places = (x.index_select(0, rows) for x in (self.hidden, self.cell, self.places))
        self.keys = Prepared(self.keys.score, self.keys.keys.index_select(0, rows))


class ShowAttendTell(nn.Module):
    """An LSTM that looks at one mixture of places for each word (Xu et al. 2015, Show, Attend and Tell).

    `a_t = attend(h_{t-1}, places)` by Bahdanau's score; a gate of the state says how much of it enters the cell;
    what the output projection reads is `tanh(E y + L_h h + L_z a)`. Soft attention weighs the places by a softmax; hard
    attention looks at one place, with the gradient of the soft one (straight-through) instead of the paper's REINFORCE.

    Args:
        encoder: gives maps of `dims` channels at `strides`.
        vocabulary: number of tokens.
        dim: of embeddings and places.
        hidden: of the LSTM.
        hard: whether a word looks at a single place.
        dropout: on embeddings and outputs.
        level: which of the encoder's maps is attended to.
    """

    def __init__(
        self,
        encoder: Any,
        vocabulary: int,
        *,
        dim: int = 256,
        hidden: int = 512,
        hard: bool = False,
        dropout: float = 0.3,
        level: int = 2,
    ) -> None:
        super().__init__()
        self.memory, self.table, self.dropout = (
            PictureMemory(encoder, dim, level),
            table(vocabulary, dim),
            Dropout(dropout),
        )
        self.start, self.gate = nn.Linear(dim, 2 * hidden), nn.Linear(hidden, 1)
        self.score = Additive(hidden, hidden // 2, key_dim=dim)
        self.normalize: Normalizer = Hard() if hard else Softmax()
        self.cell = nn.LSTMCell(2 * dim, hidden)
        self.from_hidden, self.from_places = nn.Linear(hidden, dim), nn.Linear(dim, dim)

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The output projection, shared with the embedding."""
        return self.table.weight

    def forward(
        self, pictures: Tensor, counts: Int[Tensor, " batch"], target: Int[Tensor, "captions target"]
    ) -> Float[Tensor, "captions target dim"]:
        """Teacher forcing: what the output projection reads after each token of captions."""
        return self.with_received(pictures, counts, target)[0]

    def with_received(
        self,
        pictures: Tensor,
        counts: Int[Tensor, " batch"],
        target: Int[Tensor, "captions target"],
        lengths: Int[Tensor, " captions"] | None = None,
    ) -> tuple[Float[Tensor, "captions target dim"], Float[Tensor, "captions places"]]:
        """The same, and how much weight each place received of all words; of the first `lengths`, if given."""
        places = self.memory(pictures).repeat_interleave(counts, 0)
        state = self._begin(places)
        received = places.new_zeros(places.shape[:2])
        outputs = []
        for step, inputs in enumerate(self._embed(target).unbind(1)):
            context, seen = observe(
                state.hidden[:, None, None],
                state.keys,
                places.unsqueeze(1),
                score=self.score,
                normalize=self.normalize,
                record=[Received()],
            )
            counted = 1.0 if lengths is None else (lengths > step).to(places.dtype).unsqueeze(1)
            received = received + seen.received[:, 0] * counted
            outputs.append(self._advance(inputs, context[:, 0, 0], state))
        return torch.stack(outputs, 1), received

    def encode(self, pictures: Tensor, counts: Int[Tensor, " batch"]) -> LookingState:
        """Look at the pictures, and be ready to say one thing of each; `counts` is not read."""
        return self._begin(self.memory(pictures))

    def step(self, tokens: Int[Tensor, " rows"], state: LookingState) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`, the next of each row; advances the state in place."""
        context = attend(
            state.hidden[:, None, None],
            state.keys,
            state.places.unsqueeze(1),
            score=self.score,
            normalize=self.normalize,
        )
        return self._advance(self._embed(tokens), context[:, 0, 0], state) @ self.output_weight.T

    def _begin(self, places: Places) -> LookingState:
        hidden, cell = torch.tanh(self.start(places.mean(1))).chunk(2, -1)
        return LookingState(hidden, cell, places, self.score.prepare(places.unsqueeze(1)))

    def _advance(self, inputs: Tensor, context: Tensor, state: LookingState) -> Float[Tensor, "rows dim"]:
        """One step of the cell, in place; what the output projection reads."""
        context = self.gate(state.hidden).sigmoid() * context
        state.hidden, state.cell = self.cell(torch.cat((inputs, context), -1), (state.hidden, state.cell))
        return self.dropout(
            torch.tanh(inputs + self.from_hidden(self.dropout(state.hidden)) + self.from_places(context))
        )

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.table(tokens) * self.table.embedding_dim**0.5)
