"""Regard: attention whole - any score, any normaliser, any mask, every weight observable."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.attention import *  # noqa: F403 - type checkers see the names that `__getattr__` finds

__version__ = "0.1.0"

__all__ = [
    "Additive",
    "Bias",
    "Causal",
    "Concat",
    "Dense",
    "Documents",
    "Dot",
    "Entropy",
    "General",
    "Lengths",
    "LogSumExp",
    "Mask",
    "Normalizer",
    "Observation",
    "Plan",
    "Prefix",
    "Prepared",
    "Received",
    "ScaledDot",
    "Score",
    "Seen",
    "SoftCap",
    "Softmax",
    "Term",
    "TopK",
    "TopKeys",
    "Watched",
    "Weights",
    "Window",
    "__version__",
    "attend",
    "observe",
    "plan",
    "scaled_dot_product_attention",
    "watch",
]


def __getattr__(name: str) -> Any:
    """The mechanism is imported, and torch with it, at the first use of a name: `regard --help` needs neither."""
    if name not in __all__:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    value = getattr(import_module("regard.attention"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
