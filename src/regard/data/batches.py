"""Batches of sentence pairs of similar length, in an order that depends on nothing but (seed, epoch)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Int
from torch import Tensor

from regard.data.epochs import EpochBatches, cut
from regard.models.tokens import END, PAD, START

Sentences = Sequence[Sequence[int]]  # in token numbers
Sides = tuple[Sentences, Sentences]  # sources and targets


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Sentence pairs as a model trains on them: `target_out[:, t]` is what follows `target_in[:, :t + 1]`.

    Every source ends with END; a target enters behind START and leaves before END. Padded, a pair has a row of its
    own, the rest of which is PAD. Packed, all pairs stand end to end in a single row, nothing is PAD, and
    `target_lengths` says how much of it each has.
    """

    source: Int[Tensor, "rows source"]
    source_lengths: Int[Tensor, " pairs"]  # END included
    target_in: Int[Tensor, "rows target"]
    target_out: Int[Tensor, "rows target"]
    target_lengths: Int[Tensor, " pairs"] | None = None  # END included; of a packed batch

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What an encoder-decoder is called with; only a packed batch has `target_lengths`."""
        inputs = (self.source, self.source_lengths, self.target_in)
        return inputs if self.target_lengths is None else (*inputs, self.target_lengths)

    @property
    def count(self) -> int:
        """The number of tokens to predict: what is not PAD in `target_out`."""
        return int((self.target_out != PAD).sum())

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on `device`."""
        return Batch(
            source=self.source.to(device),
            source_lengths=self.source_lengths.to(device),
            target_in=self.target_in.to(device),
            target_out=self.target_out.to(device),
            target_lengths=None if self.target_lengths is None else self.target_lengths.to(device),
        )


@dataclass(frozen=True, kw_only=True)
class SourceBatch:
    """Sentences to translate, and where they stood in the list that they were taken from."""

    rows: tuple[int, ...]
    source: Int[Tensor, "batch source"]
    source_lengths: Int[Tensor, " batch"]  # END included

    def to(self, device: torch.device | str) -> "SourceBatch":
        """The same batch on `device`."""
        source, lengths = self.source.to(device), self.source_lengths.to(device)
        return SourceBatch(rows=self.rows, source=source, source_lengths=lengths)


def collate(sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], *, packed: bool = False) -> Batch:
    """One batch of sentence pairs, given as token numbers without special tokens; padded, or packed into a row."""
    source = [[*sentence, END] for sentence in sources]
    target_in, target_out = [[START, *sentence] for sentence in targets], [[*sentence, END] for sentence in targets]
    lay = pack if packed else pad
    return Batch(
        source=lay(source),
        source_lengths=torch.tensor([len(sentence) for sentence in source]),
        target_in=lay(target_in),
        target_out=lay(target_out),
        target_lengths=torch.tensor([len(sentence) for sentence in target_out]) if packed else None,
    )


class TokenBatches(EpochBatches[Batch]):
    """An epoch of sentence pairs in batches of at most `tokens` tokens, padding included; iterate to train.

    A batch of `rows` pairs keeps `rows * max(longest source, longest target) <= tokens`, END included, also where
    it is packed: padded or packed, a batch has the same pairs, so that the training is the same. The order is that
    of :class:`EpochBatches`.

    Args:
        sources, targets: the token numbers of each sentence, without special tokens; equally many.
        tokens: the largest `rows * longest` of a batch.
        seed: of the order.
        packed: lay the pairs of a batch end to end instead of padding them (:class:`Batch`).
        recut: the sources and targets of an epoch, cut into other sub-words (:class:`Resegmentation`), a pure
            function of its number. Batches are made by the lengths of `sources` and `targets`, so that one may come
            to a little more than `tokens`.

    Raises:
        ValueError: no pairs, unequally many, or a pair that is longer than `tokens`.
    """

    def __init__(
        self,
        sources: Sequence[Sequence[int]],
        targets: Sequence[Sequence[int]],
        *,
        tokens: int,
        seed: int,
        packed: bool = False,
        recut: Callable[[int], Sides] | None = None,
    ) -> None:
        if len(sources) != len(targets):
            raise ValueError(f"{len(sources)} sources but {len(targets)} targets: they go in pairs")
        if not sources:
            raise ValueError("there are no sentence pairs to make batches of")
        self.sources, self.targets, self.packed = sources, targets, packed
        self.recut = recut
        source_lengths = torch.tensor([len(sentence) + 1 for sentence in sources])
        target_lengths = torch.tensor([len(sentence) + 1 for sentence in targets])
        longest = torch.maximum(source_lengths, target_lengths)
        worst = int(longest.argmax())
        if longest[worst] > tokens:
            raise ValueError(
                f"pair {worst + 1} has {source_lengths[worst]} source and {target_lengths[worst]} target "
                f"tokens, END included, which is more than the {tokens} of a batch: set "
                f"tokens={longest[worst]} or more, or leave the pair out"
            )
        super().__init__(longest, keys=_length_order(source_lengths, target_lengths), tokens=tokens, seed=seed)

    def making(self, epoch: int) -> Callable[[Sequence[int]], Batch]:
        sides = (self.sources, self.targets) if self.recut is None else self.recut(epoch)
        return lambda pairs: self._batch(pairs, *sides)

    def batch(self, pairs: Sequence[int]) -> Batch:
        """The batch of these pairs, by their places in `sources` and `targets`."""
        return self._batch(pairs, self.sources, self.targets)

    def _batch(self, pairs: Sequence[int], sources: Sentences, targets: Sentences) -> Batch:
        return collate([sources[pair] for pair in pairs], [targets[pair] for pair in pairs], packed=self.packed)


def length_batches(sources: Sequence[Sequence[int]], *, tokens: int) -> Iterator[SourceBatch]:
    """Sentences to translate in batches of at most `tokens` tokens, padding and END included, longest first.

    `batch.rows` are places in `sources`: `results[batch.rows[i]] = ...` restores the order. A sentence longer
    than `tokens` makes a batch of its own, so that every sentence gets a translation.
    """
    rows = sorted(range(len(sources)), key=lambda row: len(sources[row]))
    lengths = [len(sources[row]) + 1 for row in rows]
    ends = torch.tensor(cut(lengths, tokens)).cumsum(0).tolist()
    for start, end in reversed(list(pairwise([0, *ends]))):
        chunk = rows[start:end]
        yield SourceBatch(
            rows=tuple(chunk),
            source=pad([[*sources[row], END] for row in chunk]),
            source_lengths=torch.tensor(lengths[start:end]),
        )


def pad(sentences: list[list[int]]) -> Int[Tensor, "batch tokens"]:
    """Sentences as rows, the rest of which is PAD."""
    longest = max(map(len, sentences))
    return torch.tensor([sentence + [PAD] * (longest - len(sentence)) for sentence in sentences])


def pack(sentences: list[list[int]]) -> Int[Tensor, "1 tokens"]:
    """Sentences end to end in one row."""
    return torch.tensor([[token for sentence in sentences for token in sentence]])


def _length_order(
    source_lengths: Int[Tensor, " pairs"], target_lengths: Int[Tensor, " pairs"]
) -> Int[Tensor, " pairs"]:
    """A sorting key: the longer side first, then how much longer the source is than the target, by threes.

    The second part runs up for one length and down for the next, so that neighbours in the order are alike on
    both sides also where a batch holds several lengths. Steps of one would save a few percent of padding, but
    keep the same pairs together in every epoch.
    """
    longest = torch.maximum(source_lengths, target_lengths)
    difference = (source_lengths - target_lengths).div(3, rounding_mode="floor")
    return longest * (2 * int(longest.max()) + 1) + torch.where(longest % 2 == 0, difference, -difference)
