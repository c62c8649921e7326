"""Regard: attention whole - any score, any normaliser, any mask, every weight observable."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from regard.attention import *  # noqa: F403 - type checkers see the names that `__getattr__` finds

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """The mechanism is imported, and torch with it, at the first use of a name: `regard --help` needs neither."""
    if name.startswith("_") and name != "__all__":
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    attention = import_module("regard.attention")
    if name == "__all__":
        value: Any = [*attention.__all__, "__version__"]
    elif name in attention.__all__:
        value = getattr(attention, name)
    else:
        raise AttributeError(f"module 'regard' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__getattr__("__all__")})
