"""The tasks by name. Each is a package that is imported when it is asked for, and offers the same few things.

A task's package has `Recipe` (a frozen dataclass with `data` and `training`), and functions `train(recipe, path)`,
`resume(run)`, `load(run)` and, of a text task, `load_pretrained("hf:NAME")`. What these two return has a `recipe` and
offers `predict(texts)`, a list of outputs for each text (`str(output)` is a line for people, `output.record()` the same
for programs), `evaluate(data, split)`, an :class:`regard.tasks.evaluation.Evaluation`, and `look(text)`. A task that
writes has `decoding` in its recipe; its `predict` and `evaluate` take other `options` of search, and its outputs have a
line `ranked`. `reads` says what an input is: "texts", or the files of "pictures" or "sounds". Outputs of what draws
have `files()`, what is to be written, by the endings of names (`draws` says so; `writes`, that it is where a folder is
named). The module `demo` has what `regard demo TASK` needs.
"""

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from regard.explain.look import Look
from regard.training.programs import Exported
from regard.training.run import RunDirectory

TASKS = {
    "translation": "regard.tasks.translation",
    "summarization": "regard.tasks.summarization",
    "sentiment": "regard.tasks.sentiment",
    "segmentation": "regard.tasks.segmentation",
    "detection": "regard.tasks.detection",
    "captioning": "regard.tasks.captioning",
    "speech": "regard.tasks.speech",
}


def task(name: str) -> ModuleType:
    """The package of a task.

    Raises:
        ValueError: no such task, with those there are.
    """
    if name not in TASKS:
        raise ValueError(f"there is no task {name!r}; the tasks are: {', '.join(TASKS)}")
    return import_module(TASKS[name])


def open_run(path: str | Path) -> tuple[ModuleType, RunDirectory]:
    """The run directory at `path`, and the package of the task that it is a run of."""
    run = RunDirectory.open(path)
    name = run.read_config().get("task")
    if not isinstance(name, str):
        raise ValueError(f"{run.config_path} does not say which task it is a run of: it has no `task:`")
    return task(name), run


def look_with(predictor: Any, given: str) -> Look:
    """What a model attended to while it read `given`.

    Raises:
        ValueError: there is no attention to be seen, or an input that the task does not take.
    """
    if isinstance(getattr(predictor, "model", None), Exported):
        raise ValueError("programs do not say what they attended to: look with the run that they were exported from")
    found: Look = predictor.look(given)
    return found
