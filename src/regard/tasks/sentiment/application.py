"""What the command line does with text classification: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.labelled import LabelledText, read_labelled
from regard.tasks.application import begin, recipe_in
from regard.tasks.pretrained import begin_with, load_as_it_is, reopen, save_beside
from regard.tasks.sentiment.recipe import Files, Recipe
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
    encoder, tokenizers = begin_with(recipe, "encoder", lambda: recipe.sub_words.learn(texts.texts, []))
    task = Classification(recipe, tokenizers.source, classes, texts, validation, encoder)

    def save(run: RunDirectory) -> None:
        save_beside(run, recipe, encoder, tokenizers)
        run.save_labels(classes)

    return begin(path, "sentiment", recipe, task, save)


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    texts, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    encoder, tokenizers = reopen(run, recipe, "encoder")
    task = Classification(recipe, tokenizers.source, run.read_labels(), texts, validation, encoder)
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> TextClassifier:
    """The classifier of a run."""
    return TextClassifier.load(run, recipe_in(run, Recipe))


def load_pretrained(name: str) -> TextClassifier:
    """A pretrained classifier, hf:NAME, as it is."""
    model, tokenizers = load_as_it_is(name, "classifier")
    recipe = Recipe(data="", start=name, files=Files(several=model.several))
    return TextClassifier(model, tokenizers.source, model.classes, recipe)
