"""Batches of recordings as features, with what is said in them, in the order that a run can resume."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regard.data.batches import Sentences, pad
from regard.data.epochs import EpochBatches
from regard.data.scene_batches import ahead
from regard.data.sound_augmentation import SoundAugmentation
from regard.models.tokens import END, START
from regard.nn.log_mel import LogMel

_KEPT = 2**30  # bytes of recordings that are held, so that their files are read once


@dataclass(frozen=True, kw_only=True)
class SpeechBatch:
    """Features of recordings, padded on the right, and the tokens of what is said in each.

    `target_out[:, t]` is what follows `target_in[:, :t + 1]`.
    """

    features: Float[Tensor, "batch frames bands"]
    frames: Int[Tensor, " batch"]
    target_in: Int[Tensor, "batch target"]
    target_out: Int[Tensor, "batch target"]
    lengths: Int[Tensor, " batch"]  # of the targets, END not counted
    seconds: float  # of all recordings

    @property
    def count(self) -> int:
        """Seconds of sound, rounded."""
        return max(1, round(self.seconds))

    def to(self, device: torch.device | str) -> "SpeechBatch":
        """The same batch on `device`."""
        return SpeechBatch(
            features=self.features.to(device),
            frames=self.frames.to(device),
            target_in=self.target_in.to(device),
            target_out=self.target_out.to(device),
            lengths=self.lengths.to(device),
            seconds=self.seconds,
        )


class SpeechBatches(EpochBatches[SpeechBatch]):
    """An epoch of recordings of like length, each changed by chance, so many seconds at a time; iterate to train.

    Threads make the next batches while the last one is trained on. What chance does to a recording is a function of
    (seed, epoch, recording).

    Args:
        read: the sound of an item.
        seconds: of each item.
        targets: what is said in each, in token numbers, without special tokens.
        front: makes features.
        augmentation: how recordings are changed; None: not at all.
        batch: most seconds of a batch, padding counted; a longer recording is a batch of its own.
        seed: of the order and of the changes.
    """

    def __init__(
        self,
        read: Callable[[int], Float[Tensor, " _samples"]],
        seconds: Sequence[float],
        targets: Sentences,
        *,
        front: LogMel,
        augmentation: SoundAugmentation | None,
        batch: float,
        seed: int,
    ) -> None:
        self.targets, self.front, self.augmentation = targets, front, augmentation
        self.sound = Kept(read)
        stretch = 1.0 if augmentation is None else augmentation.stretch
        lengths = (torch.tensor(seconds) * stretch / front.step * front.rate).ceil().long().clamp_min(1)
        super().__init__(lengths, keys=lengths, tokens=max(1, round(batch * front.rate / front.step)), seed=seed)

    def making(self, epoch: int) -> Callable[[Sequence[int]], SpeechBatch]:
        return lambda items: collate(
            [self._features(epoch, item) for item in items],
            [self.targets[item] for item in items],
            self.front.step / self.front.rate,
        )

    def made(
        self, make: Callable[[Sequence[int]], SpeechBatch], orders: Sequence[Sequence[int]]
    ) -> Iterator[SpeechBatch]:
        return ahead(make, orders)

    def _features(self, epoch: int, item: int) -> Float[Tensor, "_frames bands"]:
        sound = self.sound(item)
        if self.augmentation is None:
            return self.front(sound)
        random = Random(f"{self.seed} {epoch} {item}")
        return self.augmentation.of_features(
            self.front(self.augmentation.of_sound(sound, self.front.rate, random)), random
        )


class Kept:
    """Sounds as numbers of 16 bits, which are read once, as many as fit the memory given to them.

    Args:
        read: the sound of an item.
    """

    def __init__(self, read: Callable[[int], Float[Tensor, " _samples"]]) -> None:
        self.read = read
        self._held: dict[int, Tensor] = {}
        self._bytes = 0

    def __call__(self, item: int) -> Float[Tensor, " _samples"]:
        sound = self._held.get(item)
        if sound is None:
            sound = (self.read(item) * 32767.0).round().clamp(-32768, 32767).short()
            if self._bytes + 2 * len(sound) <= _KEPT:
                self._held[item] = sound
                self._bytes += 2 * len(sound)
        return sound.float() / 32767.0


def collate(
    features: Sequence[Float[Tensor, "_frames bands"]], targets: Sequence[Sequence[int]], step: float
) -> SpeechBatch:
    """Recordings whose frames are `step` seconds apart, and what is said in each, as a batch."""
    return SpeechBatch(
        features=pad_sequence(list(features), batch_first=True),
        frames=torch.tensor([len(one) for one in features]),
        target_in=pad([[START, *row] for row in targets]),
        target_out=pad([[*row, END] for row in targets]),
        lengths=torch.tensor([len(row) for row in targets]),
        seconds=step * sum(len(one) for one in features),
    )
