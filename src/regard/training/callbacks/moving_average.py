"""The moving average of the weights, which is validated and kept in their stead."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from regard.training.weights import assign_tensors, unique_tensors

Tensors = tuple[Tensor, ...] | list[Tensor]


class MovingAverage(Callback):
    """An exponential moving average of the weights, a step at a time (Polyak and Juditsky 1992).

    After n steps the decay is the smaller of `decay` and (1 + n) / (10 + n), so that the first weights, which are
    random, are forgotten fast. Buffers are not averaged: they are the model's own.

    Args:
        model: Whose weights are averaged, in place where it is trained.
        decay: What of the average stays in a step; 0: there is no average.
        state: The average's state in the checkpoint that a run goes on from.
    """

    def __init__(self, model: nn.Module, decay: float, state: dict[str, Any] | None = None) -> None:
        self.model = model
        self.decay = decay
        self.average = AveragedModel(model, multi_avg_fn=self._move) if decay else None
        if self.average is not None and state is not None:
            self.average.load_state_dict(state)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.update()

    def update(self) -> None:
        """Counts the weights of one more step."""
        if self.average is not None:
            self.average.update_parameters(self.model)

    def state_dict(self) -> dict[str, Any] | None:  # type: ignore[override]
        """What a resumed run goes on from, None without an average."""
        return None if self.average is None else self.average.state_dict()

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it lasts the model has the averaged weights, if there are any; after it those that are trained."""
        if self.average is None:
            yield
            return
        trained = {name: tensor.clone() for name, tensor in unique_tensors(self.model).items()}
        assign_tensors(self.model, unique_tensors(self.average.module), "the moving average")
        try:
            yield
        finally:
            assign_tensors(self.model, trained, "the weights in training")

    @torch.no_grad()
    def _move(self, averages: Tensors, weights: Tensors, steps: Tensor | int) -> None:
        decay = min(self.decay, (1 + int(steps)) / (10 + int(steps)))
        torch._foreach_lerp_(averages, weights, 1 - decay)
