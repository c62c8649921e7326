"""What the command line does with speech recognition: train, resume, load."""

from dataclasses import replace
from pathlib import Path

from regard.data.recorded import Recorded, survey_recorded
from regard.data.tokenizer import Tokenizers
from regard.models.ngram import NGram
from regard.tasks.application import begin, recipe_in
from regard.tasks.speech.evaluation import find
from regard.tasks.speech.pretrained import PretrainedTranscriber
from regard.tasks.speech.recipe import Recipe
from regard.tasks.speech.recognition import Recognition
from regard.tasks.speech.spoken import spoken
from regard.tasks.speech.transcriber import Transcriber, language_path
from regard.training import RunDirectory, fit


def read(recipe: Recipe, split: str) -> tuple[Recorded, list[float], list[str]]:
    """The recordings of a split that can be read, the seconds of each, and what is odd about them."""
    front = recipe.front
    recorded, seconds, problems = survey_recorded(
        find(recipe, split),
        rate=recipe.rate,
        shortest=front.window / front.rate,
        longest=recipe.longest,
        skip=recipe.files.broken == "skip",
    )
    odd = [f"{split}: {line}" for line in (*recorded.odd, *(f"left out: {one}" for one in problems))]
    return recorded, seconds, odd


def train(recipe: Recipe, path: str | Path) -> RunDirectory:
    """Train by `recipe` into a new run directory. Everything that can be wrong with the data is found first."""
    if recipe.start:
        raise ValueError(
            f"a pretrained recognizer is not trained further here: regard predict {recipe.start} FILE --task speech "
            "runs it as it is; train without --from"
        )
    recipe = replace(recipe, data=str(Path(recipe.data).resolve()))  # the run is resumed from any folder
    recorded, seconds, odd = read(recipe, recipe.files.train)
    validation, validation_seconds, more = read(recipe, recipe.files.validation)
    tokenizers = recipe.sub_words.learn(recorded.texts(), [])
    task = Recognition(recipe, tokenizers, recorded, seconds, validation, validation_seconds)

    def save(run: RunDirectory) -> None:
        tokenizers.save(run.tokenizer_path)
        if recipe.language:
            texts = spoken(tokenizers.target, recorded.texts())
            NGram(texts, len(tokenizers.target), recipe.language).save(language_path(run))

    return begin(path, "speech", recipe, task, save, [*odd, *more])


def resume(run: RunDirectory) -> RunDirectory:
    """Go on where the run was when it was stopped."""
    recipe = recipe_in(run, Recipe)
    (recorded, seconds, _), (validation, validation_seconds, _) = (
        read(recipe, split) for split in (recipe.files.train, recipe.files.validation)
    )
    tokenizers = Tokenizers.load(run.tokenizer_path)
    fit(
        Recognition(recipe, tokenizers, recorded, seconds, validation, validation_seconds),
        recipe.training,
        run,
        resume=True,
    )
    return run


def load(run: RunDirectory) -> Transcriber:
    """The transcriber of a run."""
    return Transcriber.load(run, recipe_in(run, Recipe))


def load_pretrained(name: str) -> PretrainedTranscriber:
    """A pretrained model, hf:NAME, as it is: Whisper, or one with CTC."""
    return PretrainedTranscriber.load(name)
