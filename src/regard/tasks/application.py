"""What every task's application does alike: begin a run, and read the recipe of one."""

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from regard.training import RunDirectory, fit
from regard.training.recipe import recipe_of, recipe_values
from regard.training.task import Task

R = TypeVar("R")


def begin(
    path: str | Path,
    name: str,
    recipe: Any,
    task: Task,
    save: Callable[[RunDirectory], None],
    remarks: Sequence[str] = (),
) -> RunDirectory:
    """Train a task in a new run directory, into which `save` first puts what the model needs beside its weights.

    `remarks` are what is odd about the data, which its owner reads on the screen and again in the run's log. Nothing is
    left of a run that was stopped before its first step: there is nothing to resume.

    Raises:
        ValueError: the path is taken; and what `fit` raises.
    """
    run = RunDirectory.create(path, {"task": name, **recipe_values(recipe)})
    try:
        for line in remarks:
            print(line, file=sys.stderr)
            run.log(line)
        save(run)
        fit(task, recipe.training, run)
    except BaseException:
        if not run.checkpoint_path.exists():
            shutil.rmtree(run.path)
        raise
    return run


def recipe_in(run: RunDirectory, recipe: type[R]) -> R:
    """The recipe that a run was made by."""
    values = run.read_config()
    values.pop("task", None)
    return recipe_of(recipe, values, str(run.config_path))
