import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def toy() -> ModuleType:
    """The module of the toy task."""
    path = Path(__file__).with_name("toy.py")
    spec = importlib.util.spec_from_file_location("regard_training_toy", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def no_plots(monkeypatch):
    """Without writing pictures, which takes longer than the toy's training."""
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
