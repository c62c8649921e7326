"""Saving what a resumed run needs, and giving it back."""

import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from regard.training.callbacks.metrics import Metrics
from regard.training.callbacks.moving_average import MovingAverage
from regard.training.checkpoint import save_checkpoint
from regard.training.options import TrainingOptions
from regard.training.progress import Progress, Stream
from regard.training.randomness import random_state, seed_everything, set_random_state
from regard.training.run import RunDirectory
from regard.training.task import Task
from regard.training.weights import unique_tensors


class Checkpointing(Callback):
    """Writes `resume.ckpt` every `checkpoint_minutes`, at each epoch's end, and when training stops.

    Lightning's own checkpoints hold its loops' counters, which differ by the hook that they are taken in;
    this one holds the run's own progress, and a resumed Lightning starts counting anew.
    """

    def __init__(
        self,
        task: Task,
        run: RunDirectory,
        progress: Progress,
        options: TrainingOptions,
        stream: Stream,
        metrics: Metrics,
        average: MovingAverage,
        state: dict[str, Any] | None,
    ) -> None:
        self.task, self.run, self.progress, self.stream, self.metrics = task, run, progress, stream, metrics
        self.average = average
        self.seed = options.seed
        self.interval = 60 * options.checkpoint_minutes
        self.state = state
        self.started = False
        self.saved = time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.state is not None:
            trainer.optimizers[0].load_state_dict(self.state["optimizer"])
            trainer.lr_scheduler_configs[0].scheduler.load_state_dict(self.state["scheduler"])

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.started:
            return
        self.started = True
        # The random streams come last: what was imported and set up until now may have drawn from them.
        if self.state is None:
            seed_everything(self.seed)
            self.save(trainer)  # a run that is killed before its first steps are saved can be resumed too
        else:
            set_random_state(self.state["random"])
            self.state = None

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        # After an epoch's last batch comes its validation, and then a checkpoint.
        if self.progress.batch < len(self.task.batches) and (
            trainer.should_stop or time.monotonic() - self.saved >= self.interval
        ):
            self.save(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.save(trainer)

    def save(self, trainer: Trainer) -> None:
        """Writes the checkpoint, whole or not at all."""
        save_checkpoint(
            self.run.checkpoint_path,
            {
                "progress": self.progress.state_dict(),
                "batches": self.stream.position(),
                "metrics": self.metrics.state_dict(),
                "batches_an_epoch": len(self.task.batches),
                "model": unique_tensors(self.task.model),
                "average": self.average.state_dict(),
                "optimizer": trainer.optimizers[0].state_dict(),
                "scheduler": trainer.lr_scheduler_configs[0].scheduler.state_dict(),
                "random": random_state(),
            },
        )
        self.saved = time.monotonic()
