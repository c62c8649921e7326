"""The models that the Transformer replaced: recurrent encoder-decoders, without attention and with it."""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.api import attend
from regard.attention.padding import Lengths
from regard.attention.scores import Additive, Dot, General, Prepared, Score
from regard.nn.dropout import Dropout
from regard.nn.recurrence import read_rows

Attention = Literal["none", "bahdanau", "general", "dot"]


class RecurrentEncoder(nn.Module):
    """A bidirectional GRU over embedded tokens, brought to `hidden` features; padding is not read.

    Args:
        vocabulary: number of tokens.
        dim: width of the embeddings.
        hidden: width of the states, of both directions together.
        layers: one over the other.
        dropout: on embeddings, between layers and on the states.
        starts: whether it makes a first state for a decoder.
    """

    def __init__(
        self, vocabulary: int, dim: int, hidden: int, *, layers: int, dropout: float, starts: bool = True
    ) -> None:
        super().__init__()
        if hidden % 2:
            raise ValueError(f"hidden is split over two directions, so it must be even, got {hidden}")
        self.table, self.dropout = nn.Embedding(vocabulary, dim), Dropout(dropout)
        self.recurrence = nn.GRU(
            dim,
            hidden // 2,
            layers,
            batch_first=True,
            bidirectional=True,
            dropout=dropout if layers > 1 else 0.0,
        )
        self.start = nn.Linear(hidden, hidden) if starts else None
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    def forward(
        self, tokens: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch source hidden"], Float[Tensor, "batch hidden"]]:
        """The states of every token, and the decoder's first state, made of both directions' last ones."""
        assert self.start is not None, "an encoder for no decoder"
        memory, last = self.states(tokens, lengths)
        return memory, torch.tanh(self.start(last))

    def states(
        self, tokens: Int[Tensor, "batch source"], lengths: Int[Tensor, " batch"]
    ) -> tuple[Float[Tensor, "batch source hidden"], Float[Tensor, "batch hidden"]]:
        """The states of every token, and both directions' last ones side by side."""
        memory, last = read_rows(self.recurrence, self.dropout(self.table(tokens)), lengths)
        return self.dropout(memory), last


@dataclass(eq=False)
class RecurrentState:
    """What the decoder keeps between steps: its state, and the source it attends to."""

    hidden: Float[Tensor, "rows hidden"]
    memory: Float[Tensor, "rows source hidden"]
    lengths: Int[Tensor, " rows"]
    keys: Prepared | None  # the projected memory; projected once, read at every step
    mask: Lengths

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        self.hidden, self.memory, self.lengths = (
            x.index_select(0, rows) for x in (self.hidden, self.memory, self.lengths)
        )
        if self.keys is not None:
            self.keys = Prepared(self.keys.score, self.keys.keys.index_select(0, rows))
        self.mask = Lengths(self.lengths)


class RecurrentSeq2Seq(nn.Module):
    """A GRU encoder-decoder; the context of each target token comes from `regard.attend`.

    - "none": the encoder's last state is all that the decoder knows (Sutskever et al. 2014; Cho et al. 2014).
    - "bahdanau": the previous state attends with `Additive`, and the context enters the cell (Bahdanau et al. 2015).
    - "general", "dot": the new state attends with `General` or `Dot`, and the context joins it on the way to the
      output (Luong et al. 2015, global attention without input feeding).

    Args:
        source_vocabulary, target_vocabulary: numbers of tokens.
        dim: width of the embeddings; the target's table is the output projection.
        hidden: width of the recurrent states.
        layers: layers of the encoder.
        dropout: on embeddings, memory and outputs.
        attention: one of the above.
    """

    def __init__(
        self,
        source_vocabulary: int,
        target_vocabulary: int,
        *,
        dim: int = 256,
        hidden: int = 512,
        layers: int = 1,
        dropout: float = 0.3,
        attention: Attention = "bahdanau",
    ) -> None:
        super().__init__()
        self.attention = attention
        self.encoder = RecurrentEncoder(source_vocabulary, dim, hidden, layers=layers, dropout=dropout)
        self.table, self.dropout = nn.Embedding(target_vocabulary, dim), Dropout(dropout)
        scores: dict[str, Score | None] = {
            "none": None,
            "bahdanau": Additive(hidden, hidden // 2),
            "general": General(hidden),
            "dot": Dot(),
        }
        self.score = scores[attention]
        self.cell = nn.GRUCell(dim + (hidden if attention == "bahdanau" else 0), hidden)
        self.output = nn.Linear(hidden if attention == "none" else 2 * hidden, dim)
        nn.init.normal_(self.table.weight, std=dim**-0.5)

    @property
    def output_weight(self) -> Float[Tensor, "vocabulary dim"]:
        """The output projection, shared with the target's embedding."""
        return self.table.weight

    def forward(
        self,
        source: Int[Tensor, "batch source"],
        source_lengths: Int[Tensor, " batch"],
        target: Int[Tensor, "batch target"],
    ) -> Float[Tensor, "batch target dim"]:
        """Teacher forcing: what the output projection reads after each target token."""
        state = self.encode(source, source_lengths)
        inputs = self._embed(target)
        if self.attention == "bahdanau":
            return self._out(
                *(torch.stack(x, 1) for x in zip(*(self._advance(y, state) for y in inputs.unbind(1)), strict=True))
            )
        hidden = []
        for y in inputs.unbind(1):
            state.hidden = self.cell(y, state.hidden)
            hidden.append(state.hidden)
        states = torch.stack(hidden, 1)
        return self._out(states, self._look(states, state))

    def encode(self, source: Int[Tensor, "batch source"], source_lengths: Int[Tensor, " batch"]) -> RecurrentState:
        """Read the source, and be ready to decode."""
        memory, hidden = self.encoder(source, source_lengths)
        keys = None if self.score is None else self.score.prepare(memory.unsqueeze(1))
        return RecurrentState(hidden, memory, source_lengths, keys, Lengths(source_lengths))

    def step(self, tokens: Int[Tensor, " rows"], state: RecurrentState) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`, the next of each row; advances the state in place."""
        hidden, context = self._advance(self._embed(tokens), state)
        return self._out(hidden, context) @ self.output_weight.T

    def _embed(self, tokens: Tensor) -> Tensor:
        return self.dropout(self.table(tokens) * self.table.embedding_dim**0.5)

    def _advance(self, inputs: Tensor, state: RecurrentState) -> tuple[Tensor, Tensor]:
        """One step: the new state, and its context (or the one that led to it)."""
        if self.attention == "bahdanau":
            context = self._look(state.hidden.unsqueeze(1), state).squeeze(1)
            state.hidden = self.cell(torch.cat((inputs, context), -1), state.hidden)
            return state.hidden, context
        state.hidden = self.cell(inputs, state.hidden)
        return state.hidden, self._look(state.hidden.unsqueeze(1), state).squeeze(1)

    def _look(
        self, states: Float[Tensor, "rows steps hidden"], state: RecurrentState
    ) -> Float[Tensor, "rows steps context"]:
        """The context of each state: a weighted mean of the memory, or nothing at all."""
        if state.keys is None:
            return states.new_empty(*states.shape[:2], 0)
        value = state.memory.unsqueeze(1)
        return attend(states.unsqueeze(1), state.keys, value, score=self.score, mask=state.mask).squeeze(1)

    def _out(self, hidden: Tensor, context: Tensor) -> Tensor:
        return self.dropout(torch.tanh(self.output(torch.cat((hidden, context), -1))))
