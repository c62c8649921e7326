"""What the command line does with translation: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.parallel import ParallelText, read_parallel
from regard.data.tokenizer import Tokenizers
from regard.tasks.application import begin, recipe_in
from regard.tasks.translation.recipe import Recipe
from regard.tasks.translation.translator import Translation, Translator
from regard.training import RunDirectory, fit


def read(recipe: Recipe, name: str) -> ParallelText:
    """The pairs called `name` in the recipe's data."""
    return read_parallel(recipe.data, name, source=recipe.files.source, target=recipe.files.target)


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    pairs, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    cut = recipe.sub_words
    tokenizers = Tokenizers.train(
        pairs.sources,
        pairs.targets,
        vocabulary=cut.vocabulary,
        joint=cut.joint,
        lowercase=cut.lowercase,
        characters=cut.characters,
    )
    task = Translation(recipe, tokenizers, pairs, validation)
    return begin(path, "translation", recipe, task, lambda run: tokenizers.save(run.tokenizer_path))


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    tokenizers = Tokenizers.load(run.tokenizer_path)
    task = Translation(recipe, tokenizers, read(recipe, recipe.files.train), read(recipe, recipe.files.validation))
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> Translator:
    """The translator of a run."""
    return Translator.load(run, recipe_in(run, Recipe))
