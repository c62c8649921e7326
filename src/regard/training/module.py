"""A task as Lightning trains it: the step, the optimiser and its schedule."""

from collections.abc import Callable
from typing import Any

import lightning.pytorch as lightning
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from regard.data.epochs import Parts
from regard.training.options import TrainingOptions
from regard.training.task import Task


class TaskModule(lightning.LightningModule):
    """A thin wrapper: the task computes the loss, AdamW follows it.

    Args:
        task: What is trained.
        options: How.
        factor: The learning rate's factor as a function of the step.
    """

    def __init__(self, task: Task, options: TrainingOptions, factor: Callable[[int], float]) -> None:
        super().__init__()
        self.task = task
        self.model = task.model
        self.options = options
        self.factor = factor
        self.batch_count = 0
        self.part_counts: list[int] = []
        self.gradient_norm: Tensor | None = None

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Moves the batch; it is counted before, where counting waits for no device."""
        self.batch_count = batch.count
        self.part_counts = [part.count for part in batch.parts] if isinstance(batch, Parts) else []
        return batch.to(device)

    def training_step(self, batch: Any) -> Float[Tensor, ""]:
        """The loss of the batch, with the graph of its last part; those before have given their gradients."""
        if not isinstance(batch, Parts):
            return self.task.loss(batch)
        total: Tensor | float = 0.0
        for part, count in zip(batch.parts[:-1], self.part_counts, strict=False):
            loss = self.task.loss(part) * (count / self.batch_count)
            loss.backward()
            total = total + loss.detach()
        return self.task.loss(batch.parts[-1]) * (self.part_counts[-1] / self.batch_count) + total

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Any) -> None:
        """Leaves gradients alone, which Lightning would zero between a step's loss and its backward pass."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.model.zero_grad()

    def configure_optimizers(self) -> Any:
        options = self.options
        optimizer = AdamW(
            parameter_groups(self.model, options.weight_decay),
            lr=options.learning_rate,
            betas=(options.adam_beta1, options.adam_beta2),
            eps=options.adam_epsilon,
            # One kernel over all parameters: about four times as fast as the loop over tensors, on a CPU too.
            fused=True,
        )
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": LambdaLR(optimizer, self.factor), "interval": "step"},
        }

    def learning_rate(self, step: int) -> float:
        """The learning rate of step `step`, counted from 0."""
        return self.options.learning_rate * self.factor(step)

    def configure_gradient_clipping(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Shortens the whole gradient to `options.clip`; Lightning refuses to if the optimiser is fused."""
        if self.options.clip:
            self.gradient_norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.options.clip)


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """The parameters to train: matrices with weight decay; biases, norms and other vectors without."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters:
        raise ValueError("the model has no parameter that requires a gradient: there is nothing to train")
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
