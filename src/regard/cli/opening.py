"""The model that a command is given: a run directory, or a pretrained model of transformers for a task."""

import argparse
from pathlib import Path
from typing import Any

from regard.tasks.pretrained import HUB
from regard.tasks.registry import TASKS, open_run, task


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the model, and `--task`."""
    parser.add_argument("model", help="a run directory, or hf:ID or hf:FOLDER for a model of transformers as it is")
    parser.add_argument("--task", help=f"hf: what the model does: {', '.join(TASKS)}")


def open_predictor(options: argparse.Namespace) -> tuple[Any, Path]:
    """What predicts, and the folder where its pictures go.

    Raises:
        ValueError: a pretrained model without its task, or a run with one.
    """
    if options.model.startswith(HUB):
        if options.task is None:
            raise ValueError(f"{options.model} may do several tasks: add --task, one of {', '.join(TASKS)}")
        application = task(options.task)
        if not hasattr(application, "load_pretrained"):
            raise ValueError(
                f"{options.task} runs no pretrained model as it is; begin with its encoder: "
                f"regard train {options.task} --backbone {options.model} --data DIR"
            )
        return application.load_pretrained(options.model), Path()
    if options.task is not None:
        raise ValueError(
            f"--task is for models of transformers, hf:ID; {options.model} is a run directory, which knows"
        )
    application, directory = open_run(options.model)
    return application.load(directory), directory.path
