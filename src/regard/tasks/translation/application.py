"""What the command line does with translation: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.parallel import ParallelText, read_parallel
from regard.tasks.application import begin, recipe_in
from regard.tasks.pretrained import begin_with, load_as_it_is, reopen, save_beside
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
    model, tokenizers = begin_with(
        recipe, "seq2seq", lambda: recipe.sub_words.learn(pairs.sources, pairs.targets, joint=recipe.sub_words.joint)
    )
    task = Translation(recipe, tokenizers, pairs, validation, model)
    return begin(path, "translation", recipe, task, lambda run: save_beside(run, recipe, model, tokenizers))


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    model, tokenizers = reopen(run, recipe, "seq2seq")
    pairs, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    task = Translation(recipe, tokenizers, pairs, validation, model)
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> Translator:
    """The translator of a run."""
    return Translator.load(run, recipe_in(run, Recipe))


def load_pretrained(name: str) -> Translator:
    """A pretrained model, hf:NAME, as it is."""
    return Translator(*load_as_it_is(name, "seq2seq"), Recipe(data="", start=name))
