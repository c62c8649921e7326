"""Where a trained model computes, and with which precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

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
    if isinstance(predictor.model, Exported):
        if precision == "bfloat16":
            raise ValueError("programs compute as they were exported: leave --precision out, or give the run itself")
        return nullcontext()
    device: Literal["cpu", "cuda"] = "cuda" if device_of(predictor.model).type == "cuda" else "cpu"
    return torch.autocast(device, torch.bfloat16, enabled=choose_precision(precision, device) == "bfloat16")
