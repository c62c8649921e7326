"""Which items make which batch of which epoch: an order that depends on nothing but (seed, epoch)."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, Protocol, TypedDict, TypeVar, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor


@runtime_checkable
class Batch(Protocol):
    """A mini-batch: it counts what its loss is a mean over, and moves to a device."""

    @property
    def count(self) -> int:
        """How many target tokens (padding not counted), texts or pictures the loss is a mean over."""
        ...

    def to(self, device: Any) -> "Batch":
        """The same batch on `device`."""
        ...


B = TypeVar("B", bound=Batch)


@dataclass(frozen=True)
class Parts:
    """A batch in parts, of which one at a time is computed: the batch is their sum."""

    parts: tuple[Batch, ...]

    @property
    def count(self) -> int:
        """What the batch's loss is a mean over."""
        return sum(part.count for part in self.parts)

    def to(self, device: Any) -> "Parts":
        """The same batch on `device`."""
        return Parts(tuple(part.to(device) for part in self.parts))


class Position(TypedDict):
    """Where batches stand: plain numbers, so that any checkpoint can hold them."""

    epoch: int
    position: int


class EpochBatches(ABC, Generic[B]):
    """Batches of items of like length, at most `tokens` tokens each; iterate to train.

    Each epoch shuffles the items, sorts them by length, so that items of about equal length change places, cuts, and
    shuffles the batches. Where the cuts fall depends on the lengths alone: `len` never changes.

    The order is a pure function of `(seed, epoch)`; no other random state is read or changed. An iteration
    goes through one epoch; when all of it was handed out, the next iteration is the next epoch. `state_dict`
    says how many batches of which epoch were handed out, and after `load_state_dict` the next iteration goes
    on with the very next batch.

    Args:
        lengths: of the items, in tokens; none is longer than `tokens`.
        keys: by which items are sorted; their lengths come first in it.
        tokens: the largest `items * longest` of a batch.
        seed: of the order.
    """

    def __init__(self, lengths: Int[Tensor, " items"], *, keys: Int[Tensor, " items"], tokens: int, seed: int) -> None:
        self.tokens, self.seed = tokens, seed
        self._keys = keys
        self._cuts = cut(lengths.sort().values.tolist(), tokens)
        self.parts = 1  # that a batch is handed out in; as many as it has items, where those are fewer
        self._epoch = 0
        self._position = 0  # batches of this epoch that were handed out
        self._start = 0  # where the next iteration starts

    @abstractmethod
    def making(self, epoch: int) -> Callable[[Sequence[int]], B]:
        """What makes a batch of some items, by their places, in an epoch; asked once an epoch."""

    @property
    def epoch(self) -> int:
        """The epoch of the batch that was handed out last, counted from 0."""
        return self._epoch

    def __len__(self) -> int:
        """The number of batches in an epoch, the same in every epoch."""
        return len(self._cuts)

    def __iter__(self) -> Iterator[B | Parts]:
        # The epoch is read with the first batch, not before: an engine may ask for the iterator early.
        if self._position == len(self):
            self.set_epoch(self._epoch + 1)
        batches, make = self.order(self._epoch), self.making(self._epoch)
        start, self._start = self._start, 0
        for position, batch in enumerate(self._joined(make, batches[start:]), start + 1):
            self._position = position
            yield batch

    def _joined(self, make: Callable[[Sequence[int]], B], orders: Sequence[Sequence[int]]) -> Iterator[B | Parts]:
        if self.parts == 1:
            yield from self.made(make, orders)
            return
        # Every so-many-th item: a batch is sorted by length, and its parts are alike.
        pieces = [[order[place :: self.parts] for place in range(min(self.parts, len(order)))] for order in orders]
        made = iter(self.made(make, [piece for order in pieces for piece in order]))
        for order in pieces:
            yield Parts(tuple(islice(made, len(order))))

    def made(self, make: Callable[[Sequence[int]], B], orders: Sequence[Sequence[int]]) -> Iterator[B]:
        """The batches of these items, one after the other."""
        return map(make, orders)

    def order(self, epoch: int) -> list[list[int]]:
        """The items of every batch of an epoch, in the order in which they are handed out."""
        # A string seeds `random.Random` through SHA-512: neighbouring seeds and epochs share nothing.
        generator = torch.Generator().manual_seed(random.Random(f"{self.seed} {epoch}").getrandbits(63))
        items = torch.randperm(len(self._keys), generator=generator)
        items = items[self._keys[items].argsort(stable=True)]
        batches = [chunk.tolist() for chunk in items.split(self._cuts)]
        return [batches[index] for index in torch.randperm(len(batches), generator=generator).tolist()]

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of `epoch`; in the middle of that very epoch (a resumed run) stay there."""
        if epoch != self._epoch or self._position == len(self):
            self._epoch, self._position, self._start = epoch, 0, 0

    def state_dict(self) -> Position:
        """The epoch, and how many of its batches were handed out."""
        return {"epoch": self._epoch, "position": self._position}

    def load_state_dict(self, state: Position) -> None:
        """Go where `state` was taken: the next iteration starts with the batch after it."""
        epoch, position = state["epoch"], state["position"]
        if not 0 <= position <= len(self):
            raise ValueError(
                f"the saved run stood at batch {position} of its epoch, but these data and "
                f"tokens={self.tokens} make {len(self)} batches: resume with the data and the options that "
                f"the run was started with"
            )
        self._epoch, self._position, self._start = epoch, position, position


def cut(lengths: list[int], tokens: int) -> list[int]:
    """How many of the ascending `lengths` go into each batch: `rows * longest <= tokens`, or one row."""
    cuts: list[int] = []
    rows = 0
    for length in lengths:
        if rows and (rows + 1) * length > tokens:
            cuts.append(rows)
            rows = 0
        rows += 1
    return [*cuts, rows] if rows else cuts
