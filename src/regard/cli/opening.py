"""The model that a command is given: a run directory, or a pretrained model of transformers for a task."""

import argparse
from pathlib import Path
from typing import Any, get_args

from regard.tasks.computing import place
from regard.tasks.opening import open_model
from regard.tasks.registry import TASKS
from regard.training.options import Device, Precision


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add the model, `--task`, and where and how it computes."""
    parser.add_argument("model", help="a run directory, or hf:ID or hf:FOLDER for a model of transformers as it is")
    parser.add_argument("--task", help=f"hf: what the model does: {', '.join(TASKS)}")
    add_computing(parser)


def add_computing(parser: argparse.ArgumentParser) -> None:
    """Add where and how models compute."""
    parser.add_argument("--device", choices=get_args(Device), default="auto", help="auto: the GPU, where there is one")
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default="float32",
        help="auto: bfloat16, where the machine computes it fast (default: float32)",
    )


def open_predictor(options: argparse.Namespace) -> tuple[Any, Path]:
    """What predicts, and the folder where its pictures go."""
    _, predictor, folder = open_model(options.model, options.task)
    place(predictor, options.device)
    return predictor, folder
