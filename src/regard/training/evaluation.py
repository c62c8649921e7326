"""Validation that training does not notice."""

import torch

from regard.training.randomness import kept_random_state
from regard.training.task import Task


def evaluate(task: Task) -> dict[str, float]:
    """The task's validation metrics, in evaluation mode, without gradients, in float32.

    The modules' modes and the random streams are afterwards what they were.

    Raises:
        ValueError: `validate()` does not return the task's metric.
    """
    training = [module for module in task.model.modules() if module.training]
    task.model.eval()
    try:
        # Not inference mode: a tensor that a module caches there could never take part in a backward pass.
        with kept_random_state(), torch.no_grad():
            metrics = {name: float(value) for name, value in task.validate().items()}
    finally:
        for module in training:
            module.training = True
    if task.metric not in metrics:
        raise ValueError(f"validate() returned {', '.join(metrics)} but not the task's metric, {task.metric}")
    return metrics
