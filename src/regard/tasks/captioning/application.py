"""What the command line does with captioning: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.captioned import CaptionedPictures, survey_captioned
from regard.data.tokenizer import Tokenizers
from regard.tasks.application import begin, recipe_in
from regard.tasks.captioning.captioning import Captioning
from regard.tasks.captioning.picture_captioner import PictureCaptioner, find
from regard.tasks.captioning.recipe import Recipe
from regard.tasks.pretrained import begin_with_backbone, reopen_backbone, save_backbone_beside
from regard.training import RunDirectory, fit


def read(recipe: Recipe, split: str) -> tuple[CaptionedPictures, list[str]]:
    """The pictures of a split that can be read, and what is odd about them."""
    pictures, problems = survey_captioned(find(recipe, split), skip=recipe.files.broken == "skip")
    return pictures, [f"{split}: {line}" for line in (*pictures.odd, *(f"left out: {one}" for one in problems))]


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    pictures, odd = read(recipe, recipe.files.train)
    validation, more = read(recipe, recipe.files.validation)
    tokenizers = recipe.sub_words.learn(pictures.texts(), [])
    encoder = begin_with_backbone(recipe.start)
    task = Captioning(recipe, tokenizers, pictures, validation, encoder)

    def save(run: RunDirectory) -> None:
        tokenizers.save(run.tokenizer_path)
        save_backbone_beside(run, encoder)

    return begin(path, "captioning", recipe, task, save, [*odd, *more])


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    pictures, validation = (read(recipe, split)[0] for split in (recipe.files.train, recipe.files.validation))
    tokenizers = Tokenizers.load(run.tokenizer_path)
    task = Captioning(recipe, tokenizers, pictures, validation, reopen_backbone(run, recipe.start))
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> PictureCaptioner:
    """The captioner of a run."""
    return PictureCaptioner.load(run, recipe_in(run, Recipe))
