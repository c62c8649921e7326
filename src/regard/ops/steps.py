"""The steps of a Transformer's decoder, one call of the native kernels each, its weights laid out once for many."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn

from regard.ops.native import module

ACTIVATIONS: tuple[type[nn.Module], ...] = (nn.ReLU, nn.GELU, nn.SiLU)  # in the order of csrc/kernels/steps.h
MOST_BLOCKS = 128  # of a decoder: csrc/bindings/decoding.cpp


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


def fingerprint(tensors: Sequence[Tensor]) -> int:
    """A hash of what contiguous tensors of float32 hold: another one, if any of their bits is another."""
    found: int = module().fingerprint(*((tensor.data_ptr(), tensor.numel()) for tensor in tensors))
    return found


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


@dataclass(frozen=True, kw_only=True, eq=False)
class Words:
    """What a decoder reads of a token.

    Args:
        table: of embeddings, `(vocabulary, dim)`, contiguous; `scale` times theirs is read.
        positions: what is added to them at each step, `(steps, dim)`, contiguous; or nothing.
        turns: cosines and sines of each step's rotary positions, `(steps, width)`, contiguous; or nothing.
    """

    table: Tensor
    scale: float
    positions: Tensor | None
    turns: Tensor | None

    @property
    def call(self) -> tuple[object, ...]:
        positions, turns = (0 if one is None else one.data_ptr() for one in (self.positions, self.turns))
        return self.table.data_ptr(), self.scale, positions, turns, 0 if self.turns is None else self.turns.shape[1]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search did.

    Args:
        parents, tokens: of each step the rows that went on, and what they emitted.
        endings: sentence, step, row, token, log-probability and score of each output.
        impossible: the sentence that could emit nothing, after how many tokens, and whether a number was NaN.
    """

    parents: list[list[int]]
    tokens: list[list[int]]
    endings: list[tuple[int, int, int, int, float, float]]
    impossible: tuple[int, int, bool] | None


class Steps:
    """The steps of some rows, each the continuation of a sentence (csrc/search/decoder_rows.h).

    Args:
        blocks: of the decoder, at most `MOST_BLOCKS`.
        norm: of what the last block gives.
        logits: the output projection.
        lengths: `(sentences,)`, how many places of the memory there are.
    """

    def __init__(self, blocks: Sequence[Block], norm: Norm, logits: Linear, lengths: Tensor) -> None:
        self.made, self._columns = 0, logits.columns
        self._kept = (
            blocks,
            norm,
            logits,
            lengths.long().contiguous(),
        )  # whose addresses the rows have
        calls = tuple(
            (
                tuple(one.call for one in block.before),
                tuple(one.call for one in block.after),
                tuple(linear.call for linear in block.linears),
                block.own.call,
                block.cross.call,
                block.activation,
                block.memory.data_ptr(),
            )
            for block in blocks
        )
        sentences, places = blocks[0].memory.shape[:2]
        self._rows = module().decoder_rows(
            calls, logits.depth, sentences, places, self._kept[-1].data_ptr(), norm.call, logits.call
        )
        self._logits = torch.empty(0, logits.columns)

    def select(self, rows: Tensor) -> None:
        """Keep, drop, reorder or repeat rows."""
        rows = rows.contiguous()
        module().decoder_select(self._rows, rows.data_ptr(), len(rows))

    def step(self, hidden: Tensor, turn: Tensor | None) -> Tensor:
        """Logits `(rows, vocabulary)`, which may be overwritten, and are by the next step.

        Args:
            hidden: the embeddings, `(rows, dim)`, contiguous; they are overwritten.
            turn: cosines and sines of this step's rotary positions, `(width,)`, where there are such.
        """
        if len(hidden) > len(self._logits):
            self._logits = torch.empty(len(hidden), self._columns)  # kept: fresh memory costs more than to fill it
        found, self.made = self._logits[: len(hidden)], self.made + 1
        at = 0 if turn is None else turn.data_ptr()
        module().decoder_step(self._rows, torch.get_num_threads(), hidden.data_ptr(), at, found.data_ptr())
        return found

    def search(
        self,
        words: Words,
        longest: Tensor,
        *,
        width: int | None,
        best: int = 1,
        penalty: float = 0.0,
        shortest: int = 0,
        ngram: int = 0,
    ) -> Searched:
        """All steps of a search, which use up the rows (csrc/search/search.h).

        Args:
            words: for at least as many steps as the longest output has.
            longest: the most tokens of each sentence, END counted.
            width: beams of a sentence; None: greedily.
            best: outputs of each sentence that are wanted.
            penalty: log-probabilities are divided by the length to the power of it.
            shortest: tokens before END.
            ngram: no so many tokens appear twice in a row; 0: they may.
        """
        longest = longest.long().contiguous()
        (parents, tokens, counts, endings), (sentence, after, strange) = module().decoder_search(
            self._rows,
            torch.get_num_threads(),
            words.call,
            longest.data_ptr(),
            width is None,
            width or 1,
            best,
            penalty,
            (shortest, ngram),
        )
        ends = list(accumulate(memoryview(counts).cast("i")))
        return Searched(
            parents=_split(parents, ends),
            tokens=_split(tokens, ends),
            endings=endings,
            impossible=None if sentence < 0 else (sentence, after, strange),
        )


def _split(numbers: bytes, ends: Sequence[int]) -> list[list[int]]:
    """Integers of 32 bits as lists that end there."""
    found = memoryview(numbers).cast("i").tolist()
    return [found[start:end] for start, end in zip((0, *ends), ends, strict=False)]
