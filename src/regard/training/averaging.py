"""The mean of several epochs' weights (Vaswani et al. 2017, section 6.1, average the last checkpoints)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from regard.training.weights import read_tensors


def average_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the tensors of several safetensors files of one model.

    One file at a time is in memory, beside the sum. Sums are float64, the mean has each tensor's own dtype;
    tensors that are not floating point (counters) are the last file's.

    Args:
        paths: The files, in training order.

    Raises:
        ValueError: no file is given, or one is broken.
    """
    if not paths:
        raise ValueError("there are no epochs to average: give at least one file of weights")
    sums: dict[str, Tensor] = {}
    tensors: dict[str, Tensor] = {}
    for path in paths:
        tensors = read_tensors(path)
        for name, tensor in tensors.items():
            if tensor.is_floating_point():
                sums[name] = sums[name] + tensor.double() if name in sums else tensor.to(torch.float64)
    return {
        name: (sums[name] / len(paths)).to(tensor.dtype) if name in sums else tensor for name, tensor in tensors.items()
    }
