"""What the command line does with detection: train, resume, load."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regard.data.boxed import survey_boxes
from regard.tasks.application import begin, recipe_in
from regard.tasks.detection import advice
from regard.tasks.detection.detection import Detection
from regard.tasks.detection.picture_detector import PictureDetector, find
from regard.tasks.detection.recipe import Recipe
from regard.tasks.pretrained import begin_with_backbone, reopen_backbone, save_backbone_beside
from regard.training import RunDirectory, fit


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    encoder = begin_with_backbone(recipe.start)
    task, said = _task(recipe, encoder)

    def save(run: RunDirectory) -> None:
        run.save_labels(task.classes)
        save_backbone_beside(run, encoder)

    return begin(path, "detection", recipe, task, save, said)


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    task, _ = _task(recipe, reopen_backbone(run, recipe.start), run.read_labels())
    fit(task, recipe.training, run, resume=True)
    return run


def _task(recipe: Recipe, encoder: Any, names: Sequence[str] | None = None) -> tuple[Detection, list[str]]:
    """What is trained, and what is odd about its data."""
    skip = recipe.files.broken == "skip"
    pictures = survey_boxes(find(recipe, recipe.files.train, names=names), skip=skip)
    if not pictures.things.any():
        raise ValueError(f"no picture of {recipe.files.train} has a thing: there is nothing to learn")
    classes = pictures.pictures.classes
    validation = survey_boxes(find(recipe, recipe.files.validation, names=classes), skip=skip)
    said = [
        *(f"left out of {recipe.files.train}: {problem}" for problem in pictures.problems),
        *(f"left out of {recipe.files.validation}: {problem}" for problem in validation.problems),
        *(f"{recipe.files.train}: {line}" for line in advice.of_data(pictures, recipe)),
    ]
    return Detection(recipe, pictures.pictures, validation.pictures, encoder), said


def load(run: RunDirectory) -> PictureDetector:
    """The detector of a run."""
    return PictureDetector.load(run, recipe_in(run, Recipe))
