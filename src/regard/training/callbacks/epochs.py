"""The end of an epoch: its weights, its validation, and whether it is the best."""

import math

from lightning.pytorch import Callback, LightningModule, Trainer

from regard.training.callbacks.metrics import Metrics
from regard.training.callbacks.moving_average import MovingAverage
from regard.training.callbacks.stopping import Stopping
from regard.training.evaluation import evaluate
from regard.training.module import TaskModule
from regard.training.options import TrainingOptions
from regard.training.plots import draw_plots
from regard.training.progress import Progress
from regard.training.run import RunDirectory
from regard.training.task import Showing, Task
from regard.training.weights import save_weights


class Epochs(Callback):
    """Keeps the last epochs' weights, validates, puts the best in `weights.safetensors`, has patience.

    An epoch that the time limit cuts short is validated too, and counts as a candidate; one that a signal
    cuts short is not.
    """

    def __init__(
        self,
        task: Task,
        run: RunDirectory,
        progress: Progress,
        options: TrainingOptions,
        metrics: Metrics,
        average: MovingAverage,
        stopping: Stopping,
    ) -> None:
        self.task, self.run, self.progress, self.options = task, run, progress, options
        self.metrics, self.average, self.stopping = metrics, average, stopping
        self.validation: dict[str, float] = {}
        self.loss = 0.0

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, TaskModule)
        cut = self.stopping.reason is not None and self.progress.batch < len(self.task.batches)
        if cut and self.stopping.reason == "signal":
            return
        number = self.progress.epoch + 1
        self.loss = self.metrics.epoch_mean()
        if not cut:
            self.metrics.end_epoch(pl_module)
            self.progress.epoch, self.progress.batch = number, 0
        last = cut or self.stopping.reason is not None or number == self.options.epochs
        with self.average.in_place():
            self._keep(number)
            self.validation = evaluate(self.task) if last or number % self.options.validate_every == 0 else {}
            better = bool(self.validation) and self._judge(number, cut)
        self.run.append_metrics(
            {
                "kind": "epoch",
                "step": self.progress.step,
                "epoch": number,
                "complete": not cut,
                "seconds": round(self.progress.seconds, 3),
                "loss": self.loss,
                "learning_rate": pl_module.learning_rate(self.progress.step - 1),
                "metrics": self.validation,
                "best": better,
            }
        )
        if self.validation:
            draw_plots(self.run, self.task.metric)
            if isinstance(self.task, Showing):
                self.run.save_samples(number, self.task.samples())
        if self.options.patience and self.progress.stale >= self.options.patience:
            self.stopping.stop(trainer, "patience")

    def _keep(self, number: int) -> None:
        """Saves this epoch's weights, and deletes those too old for the average."""
        if self.options.average < 2:
            return
        path = self.run.epoch_path(number)
        path.parent.mkdir(exist_ok=True)
        save_weights(self.task.model, path)
        for old in self.run.epoch_paths():
            if int(old.stem[6:]) <= number - self.options.average:
                old.unlink()

    def _judge(self, number: int, cut: bool) -> bool:
        """Whether this epoch is the best so far; if so, its weights are the run's."""
        value = self.validation[self.task.metric]
        if math.isnan(value):  # worse than any number
            value = -math.inf
        if self.progress.best is not None and value <= self.progress.best:
            self.progress.stale += not cut
            return False
        self.run.save_weights(self.task.model)
        self.progress.best, self.progress.best_epoch, self.progress.stale = value, number, 0
        return True
