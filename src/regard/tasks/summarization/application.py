"""What the command line does with summarization: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.referenced import ReferencedText, read_referenced
from regard.tasks.application import begin, recipe_in
from regard.tasks.pretrained import begin_with, load_as_it_is, reopen, save_beside
from regard.tasks.summarization.recipe import Recipe
from regard.tasks.summarization.summarizer import Summarization, Summarizer
from regard.training import RunDirectory, fit


def read(recipe: Recipe, name: str) -> ReferencedText:
    """The documents called `name` in the recipe's data."""
    return read_referenced(recipe.data, name, source=recipe.files.source, target=recipe.files.target)


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    documents, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    model, tokenizers = begin_with(
        recipe, "seq2seq", lambda: recipe.sub_words.learn(documents.sources, documents.pairs().targets)
    )
    task = Summarization(recipe, tokenizers, documents, validation, model)
    return begin(path, "summarization", recipe, task, lambda run: save_beside(run, recipe, model, tokenizers))


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    documents, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    model, tokenizers = reopen(run, recipe, "seq2seq")
    task = Summarization(recipe, tokenizers, documents, validation, model)
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> Summarizer:
    """The summarizer of a run."""
    return Summarizer.load(run, recipe_in(run, Recipe))


def load_pretrained(name: str) -> Summarizer:
    """A pretrained model, hf:NAME, as it is."""
    return Summarizer(*load_as_it_is(name, "seq2seq"), Recipe(data="", start=name))
