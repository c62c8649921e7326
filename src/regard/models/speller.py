"""Listen, Attend and Spell (Chan et al. 2016): a recurrent recognizer whose every token attends to the sound."""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.api import observe
from regard.attention.location import LocationAware
from regard.attention.observations import Weights
from regard.attention.padding import Lengths
from regard.attention.scores import Prepared
from regard.models.transformer import table
from regard.nn.dropout import Dropout
from regard.nn.recurrence import read_rows

Memory = Float[Tensor, "batch length dim"]


class Listener(nn.Module):
    """Layers of bidirectional LSTM over positions of sound; padding is not read.

    Args:
        dim: of the positions, before and after.
        layers: one over the other.
        dropout: between them.
    """

    def __init__(self, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"dim is split over two directions, so it must be even, got {dim}")
        self.recurrence = nn.LSTM(
            dim,
            dim // 2,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )

    def forward(self, inputs: Memory, lengths: Int[Tensor, " batch"]) -> Memory:
        return read_rows(self.recurrence, inputs, lengths)[0]


@dataclass(eq=False)
class SpellingState:
    """What the speller keeps between steps: its state and cell, the sound, and where it looked last."""

    hidden: Float[Tensor, "rows dim"]
    cell: Float[Tensor, "rows dim"]
    context: Float[Tensor, "rows dim"]
    memory: Float[Tensor, "rows length dim"]
    lengths: Int[Tensor, " rows"]
    keys: Prepared
    looked: Float[Tensor, "rows 1 length"]

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        for name in ("hidden", "cell", "context", "memory", "lengths", "looked"):
            setattr(self, name, getattr(self, name).index_select(0, rows))
        self.keys = Prepared(self.keys.score, self.keys.keys.index_select(0, rows))


class Speller(nn.Module):
    """An LSTM that attends once a token, and knows where it looked before (location-aware, Chorowski et al. 2015).

    The state of a step is made of the last token and the last context; the new state attends; what the output
    projection reads is `tanh(W [state, context])`.

    Args:
        vocabulary: number of tokens.
        dim: of embeddings, states and the sound's positions.
        dropout: on embeddings and outputs.
    """

    def __init__(self, vocabulary: int, dim: int, dropout: float) -> None:
        super().__init__()
        self.table, self.dropout = table(vocabulary, dim), Dropout(dropout)
        self.score = LocationAware(dim, dim)
        self.cell, self.output = nn.LSTMCell(2 * dim, dim), nn.Linear(2 * dim, dim)

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The output projection, shared with the embedding."""
        return self.table.weight

    def begin(self, memory: Memory, lengths: Int[Tensor, " batch"]) -> SpellingState:
        """Nothing was written yet: it looks at all of the sound alike."""
        zeros = memory.new_zeros(memory.shape[0], memory.shape[2])
        inside = torch.arange(memory.shape[1], device=memory.device) < lengths.unsqueeze(1)
        looked = inside.to(memory.dtype) / lengths.unsqueeze(1)
        keys = self.score.prepare(memory.unsqueeze(1))
        return SpellingState(zeros, zeros, zeros, memory, lengths, keys, looked.unsqueeze(1))

    def advance(self, tokens: Int[Tensor, " rows"], state: SpellingState) -> Float[Tensor, "rows dim"]:
        """What the output projection reads after `tokens`, the next of each row; advances the state in place."""
        inputs = self.dropout(self.table(tokens) * self.table.embedding_dim**0.5)
        state.hidden, state.cell = self.cell(torch.cat((inputs, state.context), -1), (state.hidden, state.cell))
        context, seen = observe(
            state.hidden[:, None, None],
            self.score.after(state.keys, state.looked),
            state.memory.unsqueeze(1),
            score=self.score,
            mask=Lengths(state.lengths),
            record=[Weights()],
        )
        state.context, state.looked = context[:, 0, 0], seen.weights[:, :, 0]
        return self.dropout(torch.tanh(self.output(torch.cat((state.hidden, state.context), -1))))

    def forward(
        self, target: Int[Tensor, "batch target"], memory: Memory, lengths: Int[Tensor, " batch"]
    ) -> Float[Tensor, "batch target dim"]:
        """Teacher forcing: the same after each token."""
        state = self.begin(memory, lengths)
        return torch.stack([self.advance(tokens, state) for tokens in target.unbind(1)], 1)
