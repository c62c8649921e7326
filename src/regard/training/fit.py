"""Training a task from its first step, or from its last checkpoint, to its final weights."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from regard.data.epochs import EpochBatches
from regard.training.averaging import average_weights
from regard.training.checkpoint import load_checkpoint
from regard.training.evaluation import evaluate
from regard.training.machine import choose_device, choose_precision, keep_memory
from regard.training.options import TrainingOptions
from regard.training.plots import draw_plots
from regard.training.progress import Progress, Stream
from regard.training.run import RunDirectory
from regard.training.schedule import learning_rate_factor
from regard.training.task import Task
from regard.training.weights import assign_tensors

# What `Checkpointing` writes and a resumed run reads.
_STATE = ("progress", "metrics", "batches_an_epoch", "model", "optimizer", "scheduler", "random")


def fit(task: Task, options: TrainingOptions, run: RunDirectory, *, resume: bool = False) -> dict[str, float]:
    """Trains `task.model`, keeps everything in `run`, and leaves the final weights in the model.

    The final weights are those of the best epoch, or the average of the last epochs where it is better on the
    validation data. A run that was killed at any step and is resumed has, from its last checkpoint on, the
    losses of one that was not, bit for bit (on one machine's CPU, with the same number of threads).

    Args:
        task: What to train; to resume, the same task built anew.
        options: How.
        run: Where the run's files are.
        resume: Go on from `resume.ckpt`.

    Returns:
        The validation metrics of the final weights.

    Raises:
        ValueError: an option, the task or the checkpoint does not fit, or the loss became infinite or NaN.
        OSError: the disk is full; the last checkpoint is usable.
        KeyboardInterrupt: Ctrl-C or SIGTERM; a checkpoint was saved.
    """
    if not len(task.batches):
        raise ValueError("there are no training batches: give training data with at least one example")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.accumulate > 1:
        if not isinstance(task.batches, EpochBatches):
            raise ValueError("batches of this kind have no parts: leave training.accumulate at 1")
        task.batches.parts = options.accumulate
    keep_memory()
    progress, state = Progress(), None
    if resume:
        state = load_checkpoint(run.checkpoint_path, needed=_STATE)
        progress = Progress.from_state_dict(state["progress"])
    device = torch.device(choose_device(options.device))
    task.model.to(device)
    if state is not None:
        assign_tensors(task.model, state["model"], str(run.checkpoint_path))
        if state["batches_an_epoch"] != len(task.batches):
            raise ValueError(
                f"the run was started with {state['batches_an_epoch']} batches an epoch, and the data now "
                f"make {len(task.batches)}: resume with the data and the options that it was started with"
            )
        run.forget_metrics_after(progress.step)  # not before the task is known to be the run's own
    _train(task, options, run, progress, state, device)
    task.model.to(device)  # Lightning moves it to the CPU when it is done
    return _finish(task, options, run, progress)


def _train(
    task: Task,
    options: TrainingOptions,
    run: RunDirectory,
    progress: Progress,
    state: dict[str, Any] | None,
    device: torch.device,
) -> None:
    """Runs the steps that are left."""
    import lightning.pytorch as lightning

    from regard.training.callbacks.checkpointing import Checkpointing
    from regard.training.callbacks.display import Display
    from regard.training.callbacks.epochs import Epochs
    from regard.training.callbacks.metrics import Metrics
    from regard.training.callbacks.moving_average import MovingAverage
    from regard.training.callbacks.stopping import Stopping
    from regard.training.module import TaskModule

    stopping = Stopping(progress, options)
    out_of_patience = options.patience > 0 and progress.stale >= options.patience
    out_of_time = state is not None and stopping.time_is_over
    if progress.epoch >= options.epochs or out_of_patience or out_of_time:
        return
    resume = f"regard resume {run.path}"
    precision = choose_precision(options.precision, choose_device(options.device))
    total = options.epochs * len(task.batches)
    factor = learning_rate_factor(options.schedule, warmup_steps=options.warmup_steps, total_steps=total)
    stream = Stream(task.batches, progress)
    metrics = Metrics(run, progress, options, task.unit)
    if state is not None:
        metrics.load_state_dict(state["metrics"])
    average = MovingAverage(task.model, options.ema_decay, (state or {}).get("average"))
    epochs = Epochs(task, run, progress, options, metrics, average, stopping)
    checkpointing = Checkpointing(task, run, progress, options, stream, metrics, average, state)
    display = Display(run, progress, options, metrics, epochs, stopping, total)
    task.model.train()
    with _quiet_lightning(), stopping.catch_signals():
        trainer = lightning.Trainer(
            accelerator="gpu" if device.type == "cuda" else "cpu",
            devices=1,
            precision="bf16-mixed" if precision == "bfloat16" else "32-true",
            max_epochs=options.epochs - progress.epoch,
            callbacks=[metrics, stopping, average, epochs, checkpointing, display],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=0,
            default_root_dir=run.path,
        )
        parameters = sum(parameter.numel() for parameter in task.model.parameters())
        display.say(
            f"{'resuming at' if state else 'training from'} step {progress.step}: {parameters:,} parameters, "
            f"{len(task.batches):,} batches an epoch, {options.epochs} epochs, {precision} on {device.type}, "
            f"{torch.get_num_threads()} threads"
        )
        try:
            trainer.fit(TaskModule(task, options, factor), train_dataloaders=stream)
        except SystemExit as error:
            # What Lightning makes of a second Ctrl-C, which breaks a step off: no checkpoint of that.
            raise KeyboardInterrupt(f"broken off; go back to the last checkpoint with: {resume}") from error
        finally:
            display.close()
    if stopping.signalled:
        message = f"stopped at step {progress.step}; resume with: {resume}"
        run.log(message)
        print(message, file=sys.stderr, flush=True)
        raise KeyboardInterrupt(message)


def _finish(task: Task, options: TrainingOptions, run: RunDirectory, progress: Progress) -> dict[str, float]:
    """Chooses between the best epoch and the average of the last ones, by the validation metric."""
    if progress.best is None:  # stopped before the first validation
        run.save_weights(task.model)
    run.load_weights(task.model)
    single = evaluate(task)
    chosen, metrics, average = "epoch", single, None
    paths = run.epoch_paths()[-options.average :] if options.average > 1 else []
    if len(paths) > 1:
        assign_tensors(task.model, average_weights(paths), "the average of the last epochs")
        average = evaluate(task)
        if average[task.metric] > single[task.metric]:
            chosen, metrics = "average", average
            run.save_weights(task.model)
        else:
            run.load_weights(task.model)
    run.append_metrics(
        {
            "kind": "final",
            "step": progress.step,
            "epoch": progress.epoch,
            "seconds": round(progress.seconds, 3),
            "weights": chosen,
            "epochs": [int(path.stem[6:]) for path in paths] if chosen == "average" else [progress.best_epoch],
            "metrics": metrics,
            "epoch_metrics": single,
            "average_metrics": average,
        }
    )
    draw_plots(run, task.metric)
    text = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
    which = f"the average of {len(paths)} epochs" if chosen == "average" else f"epoch {progress.best_epoch}"
    message = f"final weights: {which}: {text}"
    run.log(message)
    print(message, file=sys.stderr, flush=True)
    return metrics


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leaves out what Lightning says about itself: its tips, the devices it sees, and two warnings."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        # Lightning builds a tree specification the way torch is about to retire.
        warnings.filterwarnings("ignore", message=r".*LeafSpec.* is deprecated", category=FutureWarning)
        # Whoever says `device: cpu` beside a GPU means it.
        warnings.filterwarnings("ignore", message="GPU available but not used")
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
