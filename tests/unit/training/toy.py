"""A task of a few parameters, with dropout and batches of different sizes, that trains in milliseconds."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Pairs:
    x: Tensor
    y: Tensor

    @property
    def count(self) -> int:
        return len(self.x)

    def to(self, device):
        return Pairs(self.x.to(device), self.y.to(device))


class Batches:
    """Seven batches, shuffled by the epoch; they forget nothing and draw no global random number."""

    def __init__(self) -> None:
        self.epoch = self.position = 0

    def __len__(self) -> int:
        return 7

    def __iter__(self):
        start, self.position = self.position, 0
        order = torch.randperm(7, generator=torch.Generator().manual_seed(self.epoch)).tolist()
        for index in order[start:]:
            x = torch.randn(3 + index % 5, 5, generator=torch.Generator().manual_seed(100 + index))
            yield Pairs(x, x.sum(-1, keepdim=True).sin())

    def load_state_dict(self, state) -> None:
        self.epoch, self.position = state["epoch"], state["position"]


class Toy:
    """Regression; `before_step(n)` is called in the process's n-th step, `scores` replace the metric."""

    metric, unit = "score", "tokens"

    def __init__(self, before_step=None, scores=None) -> None:
        torch.manual_seed(3)
        self.model = nn.Sequential(nn.Linear(5, 11), nn.Tanh(), nn.Dropout(0.3), nn.Linear(11, 1))
        self.batches = Batches()
        self.before_step = before_step
        self.scores = None if scores is None else iter(scores)
        self.steps = 0

    def loss(self, batch):
        self.steps += 1
        if self.before_step is not None:
            self.before_step(self.steps)
        return (self.model(batch.x) - batch.y).square().mean()

    def validate(self) -> dict[str, float]:
        torch.rand(3)  # a validation that draws random numbers must not be noticed
        x = torch.randn(31, 5, generator=torch.Generator().manual_seed(5))
        loss = float((self.model(x) - x.sum(-1, keepdim=True).sin()).square().mean())
        return {"score": -loss if self.scores is None else next(self.scores), "loss": loss}
