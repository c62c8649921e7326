"""Counting steps and writing their losses."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from regard.training.module import TaskModule
from regard.training.options import TrainingOptions
from regard.training.progress import Progress
from regard.training.run import RunDirectory


class Metrics(Callback):
    """Counts every step, and writes a line of `metrics.jsonl` every `log_every` steps and at an epoch's end.

    A line's loss is the mean over the target tokens (or whatever batches count) of the steps since the line before.
    Losses stay on the device until then, so that no step waits for it.
    """

    def __init__(self, run: RunDirectory, progress: Progress, options: TrainingOptions, unit: str) -> None:
        self.run, self.progress, self.options, self.unit = run, progress, options, unit
        self.losses: list[Tensor] = []
        self.counts: list[int] = []
        self.epoch_loss, self.epoch_count = 0.0, 0
        self.loss = math.nan
        self.session_count = 0
        self.line_seconds = progress.seconds

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # A validation between two lines is no time of the steps.
        self.line_seconds = self.progress.seconds

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert isinstance(pl_module, TaskModule)
        self.progress.step += 1
        self.progress.batch += 1
        self.session_count += pl_module.batch_count
        self.losses.append(outputs["loss"])
        self.counts.append(pl_module.batch_count)
        if self.progress.step % self.options.log_every == 0:
            self.write(pl_module)

    def write(self, module: TaskModule) -> None:
        """Writes the line of the steps since the last one."""
        seconds, counted = self.progress.seconds, sum(self.counts)
        total, count = self._sum()
        # One step's loss is written as it is: multiplied and divided by its count it would be another one.
        self.loss = float(self.losses[0]) if len(self.losses) == 1 else total / max(count, 1)
        self.epoch_loss, self.epoch_count = self.epoch_loss + total, self.epoch_count + count
        self.losses, self.counts = [], []
        norm = module.gradient_norm
        self.run.append_metrics(
            {
                "kind": "step",
                "step": self.progress.step,
                "epoch": self.progress.epoch + 1,
                "seconds": round(seconds, 3),
                "loss": self.loss,
                f"{self.unit}_per_second": round(counted / max(seconds - self.line_seconds, 1e-9), 1),
                "learning_rate": module.learning_rate(self.progress.step - 1),
                "gradient_norm": None if norm is None else float(norm),
            }
        )
        self.line_seconds = seconds

    def epoch_mean(self) -> float:
        """The mean training loss of the epoch so far."""
        total, count = self._sum()
        return (self.epoch_loss + total) / max(self.epoch_count + count, 1)

    def end_epoch(self, module: TaskModule) -> None:
        """Writes what is left of a complete epoch; the next one starts from nothing."""
        if self.losses:
            self.write(module)
        self.epoch_loss, self.epoch_count = 0.0, 0

    def _sum(self) -> tuple[float, int]:
        """The sums, over the collected steps, of loss times count and of counts."""
        losses = self._values()
        for loss in losses:
            if not math.isfinite(loss):
                rate = self.options.learning_rate
                raise ValueError(
                    f"the loss became {loss} before step {self.progress.step + 1}, at a peak learning rate "
                    f"of {rate:g}; the last checkpoint is from before it. Train anew with a smaller one, for "
                    f"example --training.learning_rate {rate / 2:g}"
                )
        return math.fsum(loss * count for loss, count in zip(losses, self.counts, strict=True)), sum(self.counts)

    def _values(self) -> list[float]:
        return torch.stack(self.losses).tolist() if self.losses else []

    def state_dict(self) -> dict[str, Any]:
        """The steps of the line and of the epoch that are not written yet."""
        self._sum()  # a loss that is no number is never saved
        return {
            "losses": self._values(),
            "counts": list(self.counts),
            "epoch_loss": self.epoch_loss,
            "epoch_count": self.epoch_count,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.losses = _scalars(state_dict["losses"])
        self.counts = list(state_dict["counts"])
        self.epoch_loss, self.epoch_count = state_dict["epoch_loss"], state_dict["epoch_count"]


def _scalars(values: Sequence[float]) -> list[Tensor]:
    return [torch.tensor(value, dtype=torch.float32) for value in values]
