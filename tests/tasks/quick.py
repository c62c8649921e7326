"""Trainings in tests, without what other tests see to."""

from collections.abc import Iterator
from contextlib import contextmanager

import jaxtyping
import pytest


@contextmanager
def quick() -> Iterator[None]:
    """Training without the check of every shape and without curves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("regard.training.plots._save", lambda *arguments: None)
        patch.setattr(jaxtyping.config, "jaxtyping_disable", True)
        yield
