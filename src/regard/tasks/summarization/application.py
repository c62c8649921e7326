"""What the command line does with summarization: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.referenced import ReferencedText, read_referenced
from regard.data.tokenizer import Tokenizers
from regard.tasks.application import begin, recipe_in
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
    pairs, cut = documents.pairs(), recipe.sub_words
    tokenizers = Tokenizers.train(
        documents.sources,
        pairs.targets,
        vocabulary=cut.vocabulary,
        joint=True,
        lowercase=cut.lowercase,
        characters=cut.characters,
    )
    task = Summarization(recipe, tokenizers, documents, validation)
    return begin(path, "summarization", recipe, task, lambda run: tokenizers.save(run.tokenizer_path))


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    documents, validation = read(recipe, recipe.files.train), read(recipe, recipe.files.validation)
    task = Summarization(recipe, Tokenizers.load(run.tokenizer_path), documents, validation)
    fit(task, recipe.training, run, resume=True)
    return run


def load(run: RunDirectory) -> Summarizer:
    """The summarizer of a run."""
    return Summarizer.load(run, recipe_in(run, Recipe))
