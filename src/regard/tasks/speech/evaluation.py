"""The recordings of a recipe's split, and how well they are recognised."""

from typing import Any

from regard.data.recorded import Recorded, read_recorded, survey_recorded
from regard.decoding import Beam, Greedy, Sampling
from regard.tasks.evaluation import Evaluation
from regard.tasks.speech import metrics
from regard.tasks.speech.recipe import Recipe


def find(recipe: Recipe, split: str, *, data: str | None = None) -> Recorded:
    """The recordings of a split."""
    return read_recorded(data or recipe.data, split, audio=recipe.files.audio, text=recipe.files.text)


def evaluate(
    transcriber: Any,
    recipe: Recipe,
    *,
    data: str | None,
    split: str | None,
    options: Greedy | Beam | Sampling | None,
    rate: int,
    shortest: float,
) -> Evaluation:
    """Every metric of the field on the recordings `split` of the folder `data`; as in the recipe, if not given.

    Args:
        transcriber: has `transcribe(recorded, options)`.
        rate, shortest: samples a second, and seconds, of what it hears.
    """
    recorded, _, problems = survey_recorded(
        find(recipe, split or recipe.files.test, data=data),
        rate=rate,
        shortest=shortest,
        longest=float("inf"),
        skip=recipe.files.broken == "skip",
    )
    outputs, references = transcriber.transcribe(recorded, options), recorded.texts()
    left = "".join(f"\nleft out: {problem}" for problem in (*recorded.odd, *problems))
    return Evaluation(
        scores=metrics.all_scores(outputs, references),
        outputs=outputs,
        table=metrics.table(outputs, references) + left,
    )
