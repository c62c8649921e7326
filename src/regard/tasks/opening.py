"""A model by its name: a run directory, or a pretrained model of transformers for a task."""

from pathlib import Path
from typing import Any

from regard.tasks.pretrained import HUB
from regard.tasks.registry import TASKS, open_run, task


def open_model(model: str, name: str | None) -> tuple[str, Any, Path]:
    """The task of a model, what predicts, and the folder where its pictures go.

    Args:
        model: a run directory, hf:ID or hf:FOLDER.
        name: of the task, for a model of transformers.

    Raises:
        ValueError: a pretrained model without its task, or a run with one.
    """
    if model.startswith(HUB):
        if name is None:
            raise ValueError(f"{model} may do several tasks: add --task, one of {', '.join(TASKS)}")
        application = task(name)
        if not hasattr(application, "load_pretrained"):
            raise ValueError(
                f"{name} runs no pretrained model as it is; begin with its encoder: "
                f"regard train {name} --backbone {model} --data DIR"
            )
        return name, application.load_pretrained(model), Path()
    if name is not None:
        raise ValueError(f"--task is for models of transformers, hf:ID; {model} is a run directory, which knows")
    application, directory = open_run(model)
    return str(directory.read_config()["task"]), application.load(directory), directory.path
