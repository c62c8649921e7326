"""A model small enough to see through, with the protocol of the real ones."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from regard.models.tokens import START


class ToyState:
    def __init__(self, memory: Tensor, mask: Tensor) -> None:
        self.memory = memory  # (rows, source, dim)
        self.mask = mask  # (rows, source)
        self.hidden = torch.zeros(memory.shape[0], memory.shape[2])

    def select(self, rows: Tensor) -> None:
        self.memory, self.mask, self.hidden = self.memory[rows], self.mask[rows], self.hidden[rows]


class Toy(nn.Module):
    """A recurrent network of a few numbers, whose state attends to the source; it notes what it was asked."""

    def __init__(self, *, vocabulary: int = 11, dim: int = 5, seed: int = 7) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.embedding = nn.Parameter(torch.randn(vocabulary, dim, generator=generator))
        self.recurrent = nn.Parameter(torch.randn(dim, dim, generator=generator))
        self.output = nn.Parameter(2 * torch.randn(vocabulary, dim, generator=generator))
        self.dropout = nn.Dropout(0.5)
        self.encoded: list[int] = []  # sentences of each call of encode
        self.rows: list[int] = []  # rows of each step
        self.weights: list[Tensor] = []  # (rows, 1, 1, source) of each step

    @property
    def output_weight(self) -> Tensor:
        return self.output

    def encode(self, source: Tensor, source_lengths: Tensor) -> ToyState:
        self.encoded.append(len(source))
        mask = torch.arange(source.shape[1]) < source_lengths[:, None]
        return ToyState(self.embedding[source], mask)

    def advance(self, tokens: Tensor, state: ToyState) -> Tensor:
        scores = (state.memory * (state.hidden + self.embedding[tokens])[:, None]).sum(-1)
        weights = scores.masked_fill(~state.mask, -torch.inf).softmax(-1)
        context = (weights[:, :, None] * state.memory).sum(1)
        self.weights.append(weights[:, None, None])
        turned = (state.hidden[:, None] * self.recurrent).sum(-1)
        state.hidden = torch.tanh(self.dropout(turned + self.embedding[tokens] + context))
        return state.hidden

    def step(self, tokens: Tensor, state: ToyState) -> Tensor:
        self.rows.append(len(tokens))
        assert len(tokens) == len(state.hidden), "as many tokens as the state has rows"
        return (self.advance(tokens, state)[:, None] * self.output).sum(-1)

    def forward(self, source: Tensor, source_lengths: Tensor, target: Tensor) -> Tensor:
        state = self.encode(source, source_lengths)
        return torch.stack([self.advance(tokens, state) for tokens in target.T], dim=1)


class TableState:
    def __init__(self, rows: int) -> None:
        self.rows = torch.arange(rows)

    def select(self, rows: Tensor) -> None:
        self.rows = self.rows[rows]


class Table(nn.Module):
    """p(next | last token) from a table `{last: {next: probability}}`; what is left out is impossible."""

    def __init__(self, probabilities: dict[int, dict[int, float]], *, vocabulary: int = 7) -> None:
        super().__init__()
        self.logits = torch.full((vocabulary, vocabulary), -torch.inf)
        self.logits[:, START] = 0.0  # rows without an entry have a distribution too
        for last, following in probabilities.items():
            self.logits[last] = -torch.inf
            for token, probability in following.items():
                self.logits[last, token] = torch.tensor(probability).log()
        self.rows: list[int] = []

    @property
    def output_weight(self) -> Tensor:
        return self.logits.T

    def encode(self, source: Tensor, source_lengths: Tensor) -> TableState:
        return TableState(len(source))

    def step(self, tokens: Tensor, state: TableState) -> Tensor:
        self.rows.append(len(tokens))
        return self.logits[tokens]

    def forward(self, source: Tensor, source_lengths: Tensor, target: Tensor) -> Tensor:
        return nn.functional.one_hot(target, len(self.logits)).float()


@pytest.fixture(scope="session")
def toy() -> Callable[..., Toy]:
    return Toy


@pytest.fixture(scope="session")
def table() -> Callable[..., Table]:
    return Table


@pytest.fixture(scope="session")
def sources() -> Callable[..., tuple[Tensor, Tensor]]:
    """Random sources of given lengths, padded to the longest (and `extra` places beyond) with PAD."""

    def make(*lengths: int, extra: int = 0, vocabulary: int = 11, seed: int = 1) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(seed)
        source = torch.zeros(len(lengths), max(lengths) + extra, dtype=torch.int64)
        for row, length in enumerate(lengths):
            source[row, :length] = torch.randint(4, vocabulary, (length,), generator=generator)
        return source, torch.tensor(lengths)

    return make
