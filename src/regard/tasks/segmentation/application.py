"""What the command line does with segmentation: train, resume, load."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jaxtyping import Int
from torch import Tensor

from regard.data.segmented import SegmentedPictures, survey
from regard.tasks.application import begin, recipe_in
from regard.tasks.pretrained import begin_with_backbone, reopen_backbone, save_backbone_beside
from regard.tasks.segmentation.picture_segmenter import PictureSegmenter, find
from regard.tasks.segmentation.recipe import Recipe
from regard.tasks.segmentation.segmentation import Segmentation
from regard.training import RunDirectory, fit


def read(
    recipe: Recipe, split: str, names: Sequence[str] | None = None
) -> tuple[SegmentedPictures, Int[Tensor, " classes"], list[str]]:
    """The pictures of a split that can be read, the pixels of each class, and what was left out."""
    found, counts, problems = survey(find(recipe, split, names=names), skip=recipe.files.broken == "skip")
    return found, counts, [f"left out of {split}: {problem}" for problem in problems]


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    encoder = begin_with_backbone(recipe.start)
    task, problems = _task(recipe, encoder)

    def save(run: RunDirectory) -> None:
        run.save_labels(task.classes)
        save_backbone_beside(run, encoder)

    return begin(path, "segmentation", recipe, task, save, problems)


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    task, _ = _task(recipe, reopen_backbone(run, recipe.start), run.read_labels())
    fit(task, recipe.training, run, resume=True)
    return run


def _task(recipe: Recipe, encoder: Any, names: Sequence[str] | None = None) -> tuple[Segmentation, list[str]]:
    """What is trained, and what is left out of it."""
    pictures, counts, problems = read(recipe, recipe.files.train, names)
    names = pictures.classes.names
    if len(names) < 2:
        raise ValueError(
            f"all masks have the one class {names[0]}: there is nothing to tell apart. Where white, 255, is a class "
            'and not what counts nowhere, say so: --files.classes \'["background 0 0 0", "thing 255 255 255"]\''
        )
    validation, _, more = read(recipe, recipe.files.validation, names)
    return Segmentation(recipe, pictures, counts, validation, encoder), [*problems, *more]


def load(run: RunDirectory) -> PictureSegmenter:
    """The segmenter of a run."""
    return PictureSegmenter.load(run, recipe_in(run, Recipe))
