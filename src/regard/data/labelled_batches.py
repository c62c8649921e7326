"""Batches of labelled texts of similar length, in the order that a run can resume."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.batches import Sentences, pack, pad
from regard.data.epochs import EpochBatches
from regard.models.tokens import END


@dataclass(frozen=True, kw_only=True)
class LabelledBatch:
    """Texts and what they are. Every text ends with END; padded it has a row of its own, packed all stand in one."""

    tokens: Int[Tensor, "rows length"]
    lengths: Int[Tensor, " texts"]  # END included
    labels: Int[Tensor, " texts"] | Float[Tensor, "texts classes"]  # the class of each; or 1 for each that it has
    packed: bool = False

    @property
    def count(self) -> int:
        """How many texts there are."""
        return len(self.lengths)

    def to(self, device: torch.device | str) -> "LabelledBatch":
        """The same batch on `device`."""
        tokens, lengths, labels = (each.to(device) for each in (self.tokens, self.lengths, self.labels))
        return replace(self, tokens=tokens, lengths=lengths, labels=labels)


class LabelledBatches(EpochBatches[LabelledBatch]):
    """An epoch of labelled texts in batches of at most `tokens` tokens, padding and END included; iterate to train.

    Args:
        texts: the token numbers of each, without special tokens.
        labels: the classes of each by number: one, or any number with `classes`.
        tokens: the largest `texts * longest` of a batch.
        seed: of the order.
        classes: how many there are, where a text may have several or none of them; not given, it has one.
        packed: lay the texts of a batch end to end instead of padding them.
        recut: the texts of an epoch, cut into other sub-words (:class:`Resegmentation`).

    Raises:
        ValueError: no texts, or one that is longer than `tokens`.
    """

    def __init__(
        self,
        texts: Sentences,
        labels: Sequence[tuple[int, ...]],
        *,
        tokens: int,
        seed: int,
        classes: int | None = None,
        packed: bool = False,
        recut: Callable[[int], Sentences] | None = None,
    ) -> None:
        if not texts:
            raise ValueError("there are no texts to make batches of")
        self.texts, self.labels, self.classes, self.packed, self.recut = texts, labels, classes, packed, recut
        lengths = torch.tensor([len(text) + 1 for text in texts])
        worst = int(lengths.argmax())
        if lengths[worst] > tokens:
            raise ValueError(
                f"text {worst + 1} has {lengths[worst]} tokens, END included, which is more than the {tokens} of a "
                f"batch: set tokens={lengths[worst]} or more, or leave the text out"
            )
        super().__init__(lengths, keys=lengths, tokens=tokens, seed=seed)

    def making(self, epoch: int) -> Callable[[Sequence[int]], LabelledBatch]:
        texts = self.texts if self.recut is None else self.recut(epoch)
        return lambda items: self._batch(items, texts)

    def batch(self, items: Sequence[int]) -> LabelledBatch:
        """The batch of these texts, by their places."""
        return self._batch(items, self.texts)

    def _batch(self, items: Sequence[int], texts: Sentences) -> LabelledBatch:
        chosen = [[*texts[item], END] for item in items]
        return LabelledBatch(
            tokens=(pack if self.packed else pad)(chosen),
            lengths=torch.tensor([len(text) for text in chosen]),
            labels=self._labels(items),
            packed=self.packed,
        )

    def _labels(self, items: Sequence[int]) -> Tensor:
        if self.classes is None:
            return torch.tensor([self.labels[item][0] for item in items])
        several = torch.zeros(len(items), self.classes)
        for row, item in enumerate(items):
            several[row, list(self.labels[item])] = 1.0
        return several
