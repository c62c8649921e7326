"""Small models whose attention can be computed whole, weights and their gradients in the open: what explanations are
compared with."""

import torch
from torch import Tensor, nn

import regard

BATCH, HEADS, GROUPS, WIDTH = 2, 4, 2, 8


class Attention(nn.Module):
    """Multi-head attention with grouped heads; with `open`, its weights stay in the graph, under `weights`."""

    def __init__(self, *, causal: bool = False) -> None:
        super().__init__()
        self.query = nn.Linear(HEADS * WIDTH, HEADS * WIDTH)
        self.key_value = nn.Linear(HEADS * WIDTH, 2 * GROUPS * WIDTH)
        self.causal, self.open = causal, False
        self.weights: Tensor | None = None

    def forward(self, hidden: Tensor, memory: Tensor | None = None) -> Tensor:
        memory = hidden if memory is None else memory
        query = self.query(hidden).unflatten(-1, (HEADS, WIDTH)).transpose(1, 2)
        key, value = self.key_value(memory).unflatten(-1, (2 * GROUPS, WIDTH)).transpose(1, 2).chunk(2, 1)
        if self.open:
            key, value = (one.repeat_interleave(HEADS // GROUPS, 1) for one in (key, value))
            scores = query @ key.mT / WIDTH**0.5
            if self.causal:
                scores = scores.masked_fill(torch.ones(scores.shape[-2:]).triu(1).bool(), -torch.inf)
            self.weights = scores.softmax(-1)
            self.weights.retain_grad()
            context = self.weights @ value
        else:
            context = regard.attend(query, key, value, mask=regard.Causal() if self.causal else None)
        return hidden + context.transpose(1, 2).flatten(2).tanh()


class Stack(nn.Module):
    """An encoder, or a decoder without a source."""

    def __init__(self, layers: int = 3, *, causal: bool = False) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Attention(causal=causal) for _ in range(layers))

    def forward(self, hidden: Tensor) -> Tensor:
        for layer in self.layers:
            hidden = layer(hidden)
        return hidden


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention, self.cross = Attention(causal=True), Attention()


class Pair(nn.Module):
    """An encoder and a decoder."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Stack(2)
        self.decoder = nn.ModuleList(Block() for _ in range(3))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        memory = self.encoder(source)
        for block in self.decoder:
            target = block.cross(block.attention(target), memory)
        return target


def opened(model: nn.Module) -> list[Attention]:
    """The model's attention, from now on with its weights in the open."""
    layers = [module for module in model.modules() if isinstance(module, Attention)]
    for layer in layers:
        layer.open = True
    return layers


def sequence(length: int, seed: int = 0) -> Tensor:
    return torch.randn(BATCH, length, HEADS * WIDTH, generator=torch.Generator().manual_seed(seed))
