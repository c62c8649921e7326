"""The steps of a Transformer's decoder, one call of the native kernels each, its weights laid out once for many."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from regard.ops.native import module

ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.GELU, nn.SiLU)  # in the order of csrc/kernels/steps.h
MOST_BLOCKS = 128  # of a decoder
_ROOM = 32  # steps that there is room for at first


class Linear:
    """A linear layer whose weight is copied into the order in which it is read; what changes it later is not seen."""

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        weight = weight.detach().contiguous()
        self.columns, self.depth = weight.shape
        self._packed = torch.empty(module().packed_numbers(self.depth, self.columns))
        module().pack_weight(weight.data_ptr(), self.depth, self.columns, self._packed.data_ptr())
        self._bias = None if bias is None else bias.detach().contiguous()
        at = 0 if self._bias is None else self._bias.data_ptr()
        self.call = (self.depth, self.columns, self._packed.data_ptr(), at)

    @classmethod
    def of(cls, *layers: nn.Linear) -> "Linear":
        """Layers of one input, side by side."""
        bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
        return cls(torch.cat([layer.weight for layer in layers]), bias)


class Norm:
    """A layer norm, or none."""

    def __init__(self, norm: nn.LayerNorm | None) -> None:
        self._kept = () if norm is None else (norm.weight.detach(), norm.bias.detach())
        self.call = (0, 0, 0.0) if norm is None else (*(one.data_ptr() for one in self._kept), norm.eps)


@dataclass(frozen=True)
class Heads:
    """Attention of `heads` queries to the keys of `kv_heads`, each of a width."""

    heads: int
    kv_heads: int
    width: int

    @property
    def call(self) -> tuple[int, int, int, float]:
        return self.heads, self.kv_heads, self.width, self.width**-0.5


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """A block of the decoder.

    Args:
        before, after: norms of the three parts' inputs, and of their sums.
        linears: that give query, key and value; what attention gives; the query of the memory; what that attention
            gives; and the two of the feed-forward layer.
        own, cross: the two attentions.
        activation: of the feed-forward layer, a place in `ACTIVATIONS`.
        memory: keys and values side by side, `(sentences, places, 2 * kv_heads * width)`, contiguous.
    """

    before: Sequence[Norm]
    after: Sequence[Norm]
    linears: Sequence[Linear]
    own: Heads
    cross: Heads
    activation: int
    memory: Tensor


class Steps:
    """The steps of some rows, each the continuation of a sentence.

    What a row's query, key and value were at each step stays where it was written, and the row has a table of where
    that is: what moves a row moves integers.

    Args:
        blocks: of the decoder, at most `MOST_BLOCKS`.
        norm: of what the last block gives.
        logits: the output projection.
        lengths: `(sentences,)`, how many places of the memory there are.
    """

    def __init__(self, blocks: Sequence[Block], norm: Norm, logits: Linear, lengths: Tensor) -> None:
        self.blocks, self.norm, self.logits, self.lengths = blocks, norm, logits, lengths.long().contiguous()
        self.made, self._used = 0, 0  # steps, and places that are taken
        self._said = [torch.empty(0, block.linears[0].columns) for block in blocks]
        self._table = torch.zeros(len(lengths), _ROOM, dtype=torch.int32)
        self._sentence = torch.arange(len(lengths), dtype=torch.int32)
        self._logits = torch.empty(0, logits.columns)
        self._call: tuple[object, ...] = ()

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat rows."""
        self._table, self._sentence = self._table.index_select(0, rows), self._sentence.index_select(0, rows)

    def step(self, hidden: Tensor, turn: Tensor | None) -> Tensor:
        """Logits `(rows, vocabulary)`, which may be overwritten, and are by the next step.

        Args:
            hidden: the embeddings, `(rows, dim)`, contiguous; they are overwritten.
            turn: cosines and sines of this step's rotary positions, `(width,)`, where there are such.
        """
        rows, first = len(hidden), self._used
        self._used, self.made = first + rows, self.made + 1
        if self.made > self._table.shape[1]:
            self._table = torch.cat((self._table, torch.zeros_like(self._table)), 1)
        self._table[:, self.made - 1] = torch.arange(first, self._used, dtype=torch.int32)
        if self._used > len(self._said[0]):
            self._grow(max(self._used, 2 * len(self._said[0]), _ROOM * rows), first)
        if rows > len(self._logits):
            self._logits = torch.empty(rows, self.logits.columns)  # kept: fresh memory costs more than to fill it
        found = self._logits[:rows]
        module().decoder_step(
            torch.get_num_threads(),
            self._call,
            rows,
            first,
            self.made,
            self._table.data_ptr(),
            self._table.shape[1],
            self._sentence.data_ptr(),
            0 if turn is None else turn.data_ptr(),
            hidden.data_ptr(),
            found.data_ptr(),
        )
        return found

    def _grow(self, room: int, used: int) -> None:
        """Room for more rows."""
        for number, said in enumerate(self._said):
            wider = torch.empty(room, said.shape[1])
            wider[:used] = said[:used]
            self._said[number] = wider
        blocks = tuple(
            (
                tuple(norm.call for norm in block.before),
                tuple(norm.call for norm in block.after),
                tuple(linear.call for linear in block.linears),
                block.own.call,
                block.cross.call,
                block.activation,
                block.memory.data_ptr(),
                said.data_ptr(),
            )
            for block, said in zip(self.blocks, self._said, strict=True)
        )
        places = self.blocks[0].memory.shape[1]
        dim = self.logits.depth
        self._call = (blocks, dim, places, self.lengths.data_ptr(), self.norm.call, self.logits.call)
