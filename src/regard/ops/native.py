"""The C++ kernels, where this installation has them: which instruction set runs, and why they are absent.

`REGARD_NATIVE` says whether they are used: `auto` (where they are, the default), `require` (their absence is an
error), `off`. `REGARD_ISA` names the instruction set instead of the fastest that the processor has.
"""

import os
from types import ModuleType

import torch  # first: the module then shares torch's OpenMP, and its threads
from torch import Tensor

from regard.ops.following import followed, transformed

CHOICES = ("auto", "require", "off")
TYPES = {torch.float32: 0, torch.bfloat16: 1}  # that the kernels compute with, and what they call them


def _load() -> tuple[ModuleType | None, str]:
    """The extension module, set to its instruction set; or None, and why."""
    choice = os.environ.get("REGARD_NATIVE", "auto")
    if choice not in CHOICES:
        raise ValueError(f"REGARD_NATIVE is one of {', '.join(CHOICES)}; got {choice!r}")
    if choice == "off":
        return None, "switched off by REGARD_NATIVE=off"
    try:
        import regard.ops._native as _native
    except ImportError as error:
        why = (
            f"which are not built ({error}); REGARD_NATIVE=require pip install --force-reinstall builds them or says "
            "what it lacks: a C++ compiler (GCC or Clang), OpenMP, Python's headers"
        )
        if choice == "require":
            raise ImportError(f"REGARD_NATIVE=require, but there are no native kernels, {why}") from error
        return None, why
    isa = os.environ.get("REGARD_ISA") or None
    known = _native.built()
    if isa is not None and not known.get(isa):
        able = ", ".join(name for name, supported in known.items() if supported)
        problem = "this processor lacks it" if isa in known else f"this build has {', '.join(known)}"
        raise ValueError(f"REGARD_ISA={isa}: {problem}. This machine runs {able}")
    _native.use(isa)
    return _native, ""


_MODULE, ABSENT = _load()  # ABSENT: why there are no kernels; empty where there are


def module() -> ModuleType:
    """The extension module."""
    if _MODULE is None:
        raise RuntimeError(f"there are no native kernels: {ABSENT}")
    return _MODULE


def has_kernel(*tensors: Tensor) -> bool:
    """Whether kernels take these: on a CPU, of one of their types, and not seen through by torch alone."""
    return (
        not ABSENT
        and all(t.device.type == "cpu" and t.dtype in TYPES and t.layout is torch.strided for t in tensors)
        and not transformed()
    )


def runs(*tensors: Tensor) -> bool:
    """Whether eager calls on these run on kernels, and nobody follows them who would have to know the operators."""
    return has_kernel(*tensors) and not followed(*tensors)


def instruction_sets() -> dict[str, bool]:
    """Those of this build, the best first, and whether this processor has each; empty without kernels."""
    return {} if _MODULE is None else _MODULE.built()


def use(isa: str | None = None) -> str:
    """Run an instruction set by name, or with None the fastest that the processor has; returns its name."""
    name: str = module().use(isa)
    return name


def in_use() -> str:
    """The instruction set that runs."""
    name: str = module().in_use()
    return name
