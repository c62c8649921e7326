"""Seeing in training what attention does: a step now and then is watched, and its numbers are logged by layer."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from regard.attention import Entropy, MaxScore, Observation, TopK, Watched, watch


class AttentionMonitor(Callback):
    """Logs the entropy and the highest score of attention, layer by layer, in every `every`-th step of a training.

    Entropy that falls towards zero in some layer comes before training that stalls or diverges (Zhai et al. 2023), and
    scores that grow without bound before one whose softmax has no gradient; QK-clip watches each head's highest (Kimi
    Team 2025). A head's number is the mean over all rows and queries of a step, or of `MaxScore` the highest; logged
    are the least, the mean and the greatest of a layer's heads, as `attention/LAYER/entropy/min`, `.../mean` and
    `.../max`: the lowest entropy of a head is `attention/LAYER/entropy/min`, QK-clip's number
    `attention/LAYER/maxscore/max`. LAYER is the module's name in the LightningModule.

    They go to all loggers of the Trainer, into `trainer.callback_metrics` and into `latest`; of several processes, the
    first one's. A step that is watched trains the same, up to last bits; all other steps cost nothing. What is watched
    is a step up to its first backward pass. Queries of padding count as all others do.

    Args:
        observations: with a number for each query: `Entropy()` and `MaxScore()` when none are given; also `Total()`,
            `LogSumExp()`, `Distance()`, `Mass([0])`.
        every: optimiser steps from one look to the next, of which step 0 is the first.
        layers: names of the modules that are watched, or patterns of them, as `watch` takes them; all when not given.

    Raises:
        TypeError: for an observation that has no number for each query.
        ValueError: for `every` below 1; in training, where a step made no call of Regard's attention, and where `watch`
            raises.

    Source: Zhai et al. 2023, "Stabilizing Transformer Training by Preventing Attention Entropy Collapse"; Kimi Team
    2025, "Kimi K2: Open Agentic Intelligence".
    """

    def __init__(self, *observations: Observation, every: int = 100, layers: str | Sequence[str] | None = None) -> None:
        if every < 1:
            raise ValueError(f"AttentionMonitor looks at every n-th step, n at least 1; got every={every}")
        for one in observations:
            if not isinstance(one, Observation) or one.by_key or one.of_one_call or isinstance(one, TopK):
                raise TypeError(
                    f"AttentionMonitor logs observations that have a number for each query, such as regard.Entropy(), "
                    f"regard.MaxScore() or regard.Mass([0]); got {one!r}"
                )
        self.observations = observations or (Entropy(), MaxScore())
        self.every, self.layers = every, layers
        self.latest: dict[str, float] = {}
        self.step: int | None = None  # the last that was watched
        self.watched: Watched | None = None  # of the step that runs
        self.block = ExitStack()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self.step = None

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        step = trainer.global_step
        if step % self.every == 0 and step != self.step:  # of the batches that one step accumulates, the first
            self.step = step
            self.watched = self.block.enter_context(watch(pl_module, *self.observations, layers=self.layers))

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        # Before: what is computed anew going back would be recorded twice, and what was recorded keeps its graph.
        watched = self.close()
        if watched is None:
            return
        self.latest = _numbers(watched)
        if not self.latest:
            raise ValueError(
                "AttentionMonitor saw no attention in this step: none of the model's is Regard's. A model of "
                "transformers is switched by regard.hub.adopt(model)"
            )
        trainer.callback_metrics.update({name: torch.tensor(value) for name, value in self.latest.items()})
        for logger in trainer.loggers:
            logger.log_metrics(self.latest, step=trainer.global_step)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        self.close()  # of a step without a backward pass

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        self.close()

    def close(self) -> Watched | None:
        """Ends the watching, if there is any; what it saw."""
        watched, self.watched = self.watched, None
        self.block.close()
        return watched


def _numbers(watched: Watched) -> dict[str, float]:
    """What is logged of a step; read from the device in one go."""
    found: dict[str, Tensor] = {}
    for layer in watched:
        calls = watched.calls(layer)
        for name in calls[0]:
            heads = _by_head([call[name] for call in calls], isinstance(watched.observations.get(name), MaxScore))
            found |= {
                f"attention/{layer}/{name}/{which}": number
                for which, number in (("min", heads.min()), ("mean", heads.mean()), ("max", heads.max()))
            }
    values = torch.stack(list(found.values())).tolist() if found else []
    return dict(zip(found, values, strict=True))


def _by_head(calls: Sequence[Float[Tensor, "batch heads queries"]], highest: bool) -> Float[Tensor, " heads"]:
    """A number for each head: the mean over all rows and queries of all calls, or the highest."""
    numbers = torch.cat([call.detach().transpose(0, 1).flatten(1) for call in calls], 1)
    return numbers.amax(1) if highest else numbers.mean(1)
