"""What the machine trains with: the device, the precision, and memory that is used again."""

import ctypes
import sys
from typing import Literal

import torch

from regard.training.options import Device, Precision


def choose_device(device: Device, flag: str = "--training.device") -> Literal["cpu", "cuda"]:
    """The device that `device` means here; `flag` is how the user would choose another.

    Raises:
        ValueError: cuda is asked for where there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device is cuda, but torch finds no GPU here: {flag} cpu")
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return device


def has_fast_bfloat16(device: Literal["cpu", "cuda"]) -> bool:
    """Whether the device multiplies bfloat16 faster than float32.

    On a CPU that takes AMX or Arm's BF16: elsewhere torch converts to float32 and back. AVX512_BF16 alone is no sign of
    it: Intel's cores have it at half the speed of float32.
    """
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if not hasattr(torch.cpu, "get_capabilities"):  # an older torch knows of x86 alone
        return torch.cpu._is_amx_tile_supported()
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("amx_bf16", "bf16"))


def choose_precision(precision: Precision, device: Literal["cpu", "cuda"]) -> Literal["float32", "bfloat16"]:
    """The precision that `precision` means on `device`."""
    if precision == "auto":
        return "bfloat16" if has_fast_bfloat16(device) else "float32"
    return precision


def keep_memory() -> bool:
    """Let this process keep the memory that tensors leave, for those of the next step; whether that could be told.

    By default glibc gives a large block back to the system at once, and the system clears every page of the next one:
    half of the page faults of a training step on a CPU, and a few percent of its time. Other C libraries are left as
    they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_max = -1, -4  # of malloc.h: every block is cut from the heap, and the heap stays
    return bool(mallopt(mmap_max, 0) and mallopt(trim_threshold, 2**31 - 1))
