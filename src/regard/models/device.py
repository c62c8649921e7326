"""Where a model computes."""

import torch
from torch import nn


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's weights; the CPU, of one that has none."""
    weight = next(model.parameters(), None)
    return torch.device("cpu") if weight is None else weight.device
