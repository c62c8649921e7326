"""Where a run stands, and its training batches from there on."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from regard.training.task import Batches


@dataclass(kw_only=True)
class Progress:
    """What a run has done, over all its processes; counted in batches that were trained on, not read ahead.

    Args:
        epoch: Epochs that are complete.
        batch: Batches of the epoch after them that the model was trained on.
        step: Steps of the optimiser.
        spent: Seconds of training in earlier processes.
        best: The best validation metric so far, None before the first.
        best_epoch: The epoch (from 1) that reached it.
        stale: Validations since then.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    spent: float = 0.0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def seconds(self) -> float:
        """Seconds of training so far, validations included."""
        return self.spent + time.monotonic() - self.started

    def state_dict(self) -> dict[str, Any]:
        """Plain values; the clock's own zero means nothing in another process."""
        return {name: value for name, value in asdict(self).items() if name != "started"} | {"spent": self.seconds}

    @classmethod
    def from_state_dict(cls, state: dict[str, Any]) -> "Progress":
        """The progress that `state_dict` described, its clock going on from there."""
        return cls(**state)


class Stream:
    """The batches of the current epoch from the current position on, one epoch an iteration.

    It has no length, so that Lightning keeps no count of batches that a resumed epoch would contradict.
    Lightning reads one batch ahead; `progress` does not count that one.
    """

    def __init__(self, batches: Batches, progress: Progress) -> None:
        self.batches = batches
        self.progress = progress

    def __iter__(self) -> Iterator[Any]:
        self.batches.load_state_dict(self.position())
        yield from self.batches

    def position(self) -> dict[str, int]:
        """The sampler's state before the first batch that the model was not trained on."""
        return {"epoch": self.progress.epoch, "position": self.progress.batch}
