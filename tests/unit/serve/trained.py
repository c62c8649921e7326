"""A small model of every task, trained for a moment: what pages show is real, if not right."""

from importlib import import_module
from pathlib import Path

import pytest
from tests.tasks.quick import quick

from regard.serve.model import Model
from regard.tasks.registry import TASKS, task

# Where each demo has its numbers of examples, and what it calls the splits.
_SIZES = {
    "translation": "regard.tasks.dates",
    "summarization": "regard.tasks.summarization.events",
    "sentiment": "regard.tasks.sentiment.reviews",
}


def train_all(folder: Path) -> dict[str, tuple[Model, str]]:
    """Of every task a model, and an input to try it on."""
    return {name: _train(name, folder / name) for name in TASKS}


def _train(name: str, folder: Path) -> tuple[Model, str]:
    demo, application = import_module(f"regard.tasks.{name}.demo"), task(name)
    sizes = import_module(_SIZES.get(name, demo.__name__)).SIZES
    with quick(), pytest.MonkeyPatch.context() as patch:
        for split in set(sizes) - {"train"}:
            patch.setitem(sizes, split, 3)
        demo.write_data(folder / "data", examples=97 if name in _SIZES else 8)
        run = application.train(demo.recipe(folder / "data", epochs=1), folder / "run")
    return Model(name=f"{name}-1", task=name, predictor=application.load(run)), demo.trial(folder / "data")
