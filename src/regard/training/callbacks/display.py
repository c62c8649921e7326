"""Showing how training goes: a bar on a terminal, plain lines elsewhere, the lines in `train.log` too."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from regard.training.callbacks.epochs import Epochs
from regard.training.callbacks.metrics import Metrics
from regard.training.callbacks.stopping import Stopping
from regard.training.options import TrainingOptions
from regard.training.progress import Progress
from regard.training.run import RunDirectory
from regard.training.task import Remarking

_REFRESH = 0.5  # seconds between two pictures of the bar
_LINE = 60.0  # seconds between two plain lines


class Display(Callback):
    """Epoch, step, target tokens (or texts, or pictures) per second, time left, loss and metric, on standard error."""

    def __init__(
        self,
        run: RunDirectory,
        progress: Progress,
        options: TrainingOptions,
        metrics: Metrics,
        epochs: Epochs,
        stopping: Stopping,
        total: int,
    ) -> None:
        self.run, self.progress, self.options, self.metrics = run, progress, options, metrics
        self.epochs, self.stopping, self.total = epochs, stopping, total
        self.bar: Bar | None = None
        self.first_step = progress.step
        self.first_seconds = progress.seconds
        self.epoch_seconds, self.epoch_count = progress.seconds, 0
        self.shown = time.monotonic()
        self.measured = ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        # Lightning's own start is no time of the steps.
        self.first_step, self.first_seconds = self.progress.step, self.progress.seconds
        if sys.stderr.isatty():
            self.bar = Bar(
                TextColumn("{task.fields[epoch]}"),
                BarColumn(bar_width=None),
                TextColumn("{task.fields[numbers]}"),
                console=Console(stderr=True),
                expand=True,
                transient=True,  # the lines of the epochs stay
                refresh_per_second=4,
            )
            self.bar.add_task("", total=self.total, completed=self.progress.step, epoch="", numbers="")
            self.bar.start()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.epoch_seconds, self.epoch_count = self.progress.seconds, self.metrics.session_count

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self.shown < (_LINE if self.bar is None else _REFRESH):
            return
        self.shown = now
        loss = float(outputs["loss"])
        if self.bar is None:
            self.say(f"{self._epoch()} {self._numbers(loss)}")
        else:
            self.bar.update(
                self.bar.task_ids[0],
                completed=self.progress.step,
                epoch=self._epoch(),
                numbers=self._numbers(loss),
            )

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.stopping.reason == "signal" and self.progress.batch:
            return
        metric, validation = self.epochs.task.metric, self.epochs.validation
        if validation:
            star = " (best)" if self.progress.stale == 0 else ""
            self.measured = f"{metric} {validation[metric]:.2f}{star}"
        number = self.progress.epoch + (self.progress.batch > 0)
        rest = ", ".join(f"validation {name} {value:.4g}" for name, value in validation.items())
        self.say(
            f"epoch {number}/{self.options.epochs} step {self.progress.step} "
            f"{clock(self.progress.seconds)}, loss {self.epochs.loss:.4f}"
            + (f", {rest}" if rest else "")
            + (" *" if validation and self.progress.stale == 0 else "")
        )
        if validation and isinstance(self.epochs.task, Remarking) and (remark := self.epochs.task.remark()):
            self.say(f"epoch {number}: {remark}")

    def say(self, text: str) -> None:
        """One line on standard error and in the log."""
        self.run.log(text)
        if self.bar is None:
            print(text, file=sys.stderr, flush=True)
        else:
            self.bar.console.print(text, highlight=False, markup=False)

    def close(self) -> None:
        """Takes the bar from the terminal."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None

    def _epoch(self) -> str:
        return f"epoch {self.progress.epoch + 1}/{self.options.epochs} step {self.progress.step}/{self.total}"

    def _numbers(self, loss: float) -> str:
        """Tokens per second of this epoch's steps; the time left counts validations too."""
        seconds = self.progress.seconds
        rate = (self.metrics.session_count - self.epoch_count) / max(seconds - self.epoch_seconds, 1e-9)
        steps = max(self.progress.step - self.first_step, 1)
        left = (seconds - self.first_seconds) / steps * (self.total - self.progress.step)
        if self.stopping.limit is not None:
            left = min(left, self.stopping.limit - seconds)
        parts = [f"{rate:,.0f} {self.metrics.unit}/s", f"{clock(left)} left", f"loss {loss:.3f}", self.measured]
        return ", ".join(part for part in parts if part)


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    whole = max(0, round(seconds))
    hours, minutes = divmod(whole // 60, 60)
    return f"{hours}:{minutes:02d}:{whole % 60:02d}" if hours else f"{minutes}:{whole % 60:02d}"
