"""Batches of scenes, changed anew in every epoch, in the order that a run can resume."""

import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from random import Random
from typing import TypeVar

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from regard.data.augmentation import Augmentation
from regard.data.epochs import EpochBatches
from regard.data.scene import Scene

B = TypeVar("B")

THREADS = min(8, max(1, (os.cpu_count() or 1) // 2))  # that make batches, one each


@dataclass(frozen=True, kw_only=True)
class SceneBatch:
    """Pictures of one size, with their masks, or with the boxes of each and the classes of those."""

    pictures: UInt8[Tensor, "batch 3 height width"]
    masks: UInt8[Tensor, "batch height width"] | None = None
    boxes: tuple[Float[Tensor, "_things 4"], ...] = ()
    labels: tuple[Int[Tensor, " _things"], ...] = ()

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return len(self.pictures)

    def to(self, device: torch.device | str) -> "SceneBatch":
        """The same batch on `device`."""
        return SceneBatch(
            pictures=self.pictures.to(device),
            masks=None if self.masks is None else self.masks.to(device),
            boxes=tuple(each.to(device) for each in self.boxes),
            labels=tuple(each.to(device) for each in self.labels),
        )


class SceneBatches(EpochBatches[SceneBatch]):
    """An epoch of scenes, each changed by chance and of the same size, `batch` at a time; iterate to train.

    Threads make the next batches while the last one is trained on: on two cores one, and beside a GPU as many as it
    takes. What chance does to a picture is a function of (seed, epoch, picture).

    Args:
        read: the scene of an item.
        items: how many there are.
        augmentation: how they are changed.
        size: height and width of what is trained on.
        batch: how many at a time.
        seed: of the order and of the changes.
    """

    def __init__(
        self,
        read: Callable[[int], Scene],
        items: int,
        *,
        augmentation: Augmentation,
        size: tuple[int, int],
        batch: int,
        seed: int,
    ) -> None:
        self.read, self.items, self.augmentation, self.size = read, items, augmentation, size
        ones = torch.ones(items, dtype=torch.long)
        super().__init__(ones, keys=ones, tokens=batch, seed=seed)

    def making(self, epoch: int) -> Callable[[Sequence[int]], SceneBatch]:
        return lambda items: collate([self._changed(epoch, item) for item in items])

    def made(
        self, make: Callable[[Sequence[int]], SceneBatch], orders: Sequence[Sequence[int]]
    ) -> Iterator[SceneBatch]:
        return ahead(make, orders)

    def _changed(self, epoch: int, item: int) -> Scene:
        random = Random(f"{self.seed} {epoch} {item}")
        return self.augmentation(self.read, item, self.items, self.size, random)


def collate(scenes: Sequence[Scene]) -> SceneBatch:
    """Scenes of one size as a batch."""
    masks = [scene.mask for scene in scenes if scene.mask is not None]
    return SceneBatch(
        pictures=torch.stack([scene.picture for scene in scenes]),
        masks=torch.stack(masks) if masks else None,
        boxes=tuple(scene.boxes for scene in scenes if scene.boxes is not None),
        labels=tuple(scene.labels for scene in scenes if scene.labels is not None),
    )


def ahead(make: Callable[[Sequence[int]], B], orders: Sequence[Sequence[int]]) -> Iterator[B]:
    """The batches of these items in order, the next ones made by threads while the last one is used."""
    with ThreadPoolExecutor(THREADS) as pool:
        following: deque[Future[B]] = deque()
        for items in orders:
            following.append(pool.submit(make, items))
            if len(following) > THREADS:
                yield following.popleft().result()
        while following:
            yield following.popleft().result()
