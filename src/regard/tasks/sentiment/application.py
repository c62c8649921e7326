"""What the command line does with text classification: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.labelled import LabelledText, read_labelled
from regard.data.tokenizer import Tokenizer
from regard.tasks.application import begin, recipe_in
from regard.tasks.sentiment.recipe import Recipe
from regard.tasks.sentiment.text_classifier import Classification, TextClassifier
from regard.training import RunDirectory, fit


def read(recipe: Recipe, name: str) -> LabelledText:
    """The texts called `name` in the recipe's data."""
    files = recipe.files
    return read_labelled(recipe.data, name, text=files.text, label=files.label, several=files.several)


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    texts, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    classes = texts.classes()
    if len(classes) < 2 and not recipe.files.several:
        raise ValueError(
            f"all {len(texts)} training texts have the label {classes[0]!r}: there is nothing to tell apart; give "
            "texts of two labels or more"
        )
    cut = recipe.sub_words
    tokenizer = Tokenizer.train(
        texts.texts, vocabulary=cut.vocabulary, lowercase=cut.lowercase, characters=cut.characters
    )
    task = Classification(recipe, tokenizer, classes, texts, validation)

    def save(run: RunDirectory) -> None:
        tokenizer.save(run.tokenizer_path)
        run.save_labels(classes)

    return begin(path, "sentiment", recipe, task, save)


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    texts, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    task = Classification(recipe, Tokenizer.load(run.tokenizer_path), run.read_labels(), texts, validation)
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> TextClassifier:
    """The classifier of a run."""
    return TextClassifier.load(run, recipe_in(run, Recipe))
