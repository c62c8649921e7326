"""Regard: attention whole - any score, any normaliser, any mask, every weight observable."""

from regard.attention import *  # noqa: F403 - the public names of the mechanism are the public names of the library
from regard.attention import __all__ as _mechanism

__version__ = "0.1.0"
__all__ = ["__version__", *_mechanism]
