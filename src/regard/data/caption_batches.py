"""Batches of pictures with all their captions, in the order that a run can resume."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from regard.data.augmentation import Augmentation
from regard.data.batches import Sentences, pad
from regard.data.epochs import EpochBatches
from regard.data.scene import Scene
from regard.data.scene_batches import ahead
from regard.models.tokens import END, PAD, START


@dataclass(frozen=True, kw_only=True)
class CaptionBatch:
    """Pictures, and captions of each: `target_out[:, t]` is what follows `target_in[:, :t + 1]`."""

    pictures: UInt8[Tensor, "batch 3 height width"]
    counts: Int[Tensor, " batch"]  # captions of each picture, which stand one after the other
    target_in: Int[Tensor, "captions target"]
    target_out: Int[Tensor, "captions target"]

    @property
    def count(self) -> int:
        """The number of tokens to predict: what is not PAD in `target_out`."""
        return int((self.target_out != PAD).sum())

    def to(self, device: torch.device | str) -> "CaptionBatch":
        """The same batch on `device`."""
        return CaptionBatch(
            pictures=self.pictures.to(device),
            counts=self.counts.to(device),
            target_in=self.target_in.to(device),
            target_out=self.target_out.to(device),
        )


class CaptionBatches(EpochBatches[CaptionBatch]):
    """An epoch of pictures, each changed by chance, with all of its captions, `batch` at a time; iterate to train.

    A picture is read once for all of its captions, since reading it is what costs. Threads make the next batches while
    the last one is trained on. What chance does to a picture is a function of (seed, epoch, picture).

    Args:
        read: the picture of an item.
        captions: those of each item, in token numbers, without special tokens.
        augmentation: how pictures are changed.
        size: height and width of what is trained on.
        batch: pictures at a time.
        seed: of the order and of the changes.
    """

    def __init__(
        self,
        read: Callable[[int], Scene],
        captions: Sequence[Sentences],
        *,
        augmentation: Augmentation,
        size: tuple[int, int],
        batch: int,
        seed: int,
    ) -> None:
        self.read, self.captions, self.augmentation, self.size = read, captions, augmentation, size
        ones = torch.ones(len(captions), dtype=torch.long)
        super().__init__(ones, keys=ones, tokens=batch, seed=seed)

    def making(self, epoch: int) -> Callable[[Sequence[int]], CaptionBatch]:
        return lambda items: collate([self._changed(epoch, item) for item in items], [self.captions[i] for i in items])

    def made(
        self, make: Callable[[Sequence[int]], CaptionBatch], orders: Sequence[Sequence[int]]
    ) -> Iterator[CaptionBatch]:
        return ahead(make, orders)

    def _changed(self, epoch: int, item: int) -> Scene:
        random = Random(f"{self.seed} {epoch} {item}")
        return self.augmentation(self.read, item, len(self.captions), self.size, random)


def collate(scenes: Sequence[Scene], captions: Sequence[Sentences]) -> CaptionBatch:
    """Pictures of one size, and the captions of each, as a batch."""
    rows = [list(caption) for of_one in captions for caption in of_one]
    return CaptionBatch(
        pictures=torch.stack([scene.picture for scene in scenes]),
        counts=torch.tensor([len(of_one) for of_one in captions]),
        target_in=pad([[START, *row] for row in rows]),
        target_out=pad([[*row, END] for row in rows]),
    )
