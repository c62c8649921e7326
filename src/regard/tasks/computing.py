"""Where a trained model computes, and with which precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch

from regard.models.device import device_of
from regard.training.machine import choose_device, choose_precision
from regard.training.options import Device, Precision
from regard.training.programs import Exported


def place(predictor: Any, device: Device) -> None:
    """Move what predicts to a device.

    Raises:
        ValueError: a GPU is asked for where there is none, or of programs, which have their place.
    """
    if isinstance(predictor.model, Exported):
        if device == "cuda":
            raise ValueError("programs run on the CPU: leave --device out, or give the run they were exported from")
        return
    predictor.model.to(choose_device(device, flag="--device"))


def computing(predictor: Any, precision: Precision) -> AbstractContextManager[Any]:
    """Within it what predicts computes in this precision; the weights stay in float32.

    Raises:
        ValueError: programs, which have their precision.
    """
    if precision == "float32":
        return nullcontext()
    device = device_of(predictor.model).type
    wanted = choose_precision(precision, "cuda" if device == "cuda" else "cpu") == "bfloat16"
    if wanted and isinstance(predictor.model, Exported):
        if precision == "bfloat16":
            raise ValueError("programs compute as they were exported: leave --precision out, or give the run itself")
        wanted = False
    return torch.autocast(device, torch.bfloat16, enabled=wanted)
