"""Stopping between two batches: when the time is over, or when somebody asks."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from regard.training.options import TrainingOptions
from regard.training.progress import Progress


class Stopping(Callback):
    """Ends training after the batch in which the time limit passed or a signal came.

    `reason` says why: "time", "signal", "patience", or None while nothing stops the training.
    """

    def __init__(self, progress: Progress, options: TrainingOptions) -> None:
        self.progress = progress
        self.limit = None if options.max_minutes is None else 60 * options.max_minutes
        self.signalled = False
        self.reason: str | None = None
        self.handler: Callable[[int, Any], None] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning put its own handler of SIGTERM before ours: it would end training without a checkpoint.
        if self.handler is not None:
            signal.signal(signal.SIGTERM, self.handler)

    @property
    def time_is_over(self) -> bool:
        return self.limit is not None and self.progress.seconds >= self.limit

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.signalled or self.time_is_over:
            self.stop(trainer, "signal" if self.signalled else "time")

    def stop(self, trainer: Trainer, reason: str) -> None:
        """Lets the training end after this batch, or this epoch if it is at its end."""
        self.reason = reason
        trainer.should_stop = True

    @contextmanager
    def catch_signals(self) -> Iterator[None]:
        """Takes the first Ctrl-C or SIGTERM as the wish to stop after this batch; a second one stops at once.

        A step that is broken off in the middle would leave weights and random streams that no uninterrupted
        run ever has, so the first signal waits for the step's end.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        former = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def handle(number: int, frame: Any) -> None:
            if self.signalled:
                raise KeyboardInterrupt
            self.signalled = True

        self.handler = handle
        try:
            for number in former:
                signal.signal(number, handle)
            yield
        finally:
            self.handler = None
            for number, handler in former.items():
                signal.signal(number, handler)
