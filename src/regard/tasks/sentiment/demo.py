"""The demo: a small classifier that learns which word of a review turns its sense."""

from pathlib import Path

from regard.explain.look import Look
from regard.tasks.sentiment import reviews
from regard.tasks.sentiment.recipe import Files, Model, Recipe
from regard.tasks.sentiment.text_classifier import TextClassifier, strongest
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions

DESCRIPTION = "reviews that hang on a word (not, but, although), told apart as positive and negative"
TITLE = "The word that turns the sense"
EXAMPLES = reviews.SIZES["train"]
EPOCHS = 8
_POINTED = 200  # reviews of which the strongest word is looked up


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Make the training, validation and test reviews, a label and a text a line; a few of them to show."""
    folder.mkdir(parents=True, exist_ok=True)
    shown: list[str] = []
    for split, size in {**reviews.SIZES, "train": examples}.items():
        lines = [f"{review.label} {review.text}" for review in reviews.generate(size, seed=1, split=split)]
        (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        shown = shown or lines[:3]
    return shown


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: two layers of width 64, about two minutes on two CPU cores."""
    return Recipe(
        data=str(folder),
        files=Files(validation="validation"),
        sub_words=SubWords(vocabulary=400, lowercase=True),
        model=Model(dim=64, layers=2, heads=4, feed_forward=128, dropout=0.1),
        batch_tokens=2048,
        training=TrainingOptions(epochs=epochs, learning_rate=3e-3, warmup_steps=100, average=1),
    )


def looks(folder: Path) -> list[str]:
    """What is looked at when the demo has trained."""
    return list(reviews.EXAMPLES)[:4]


def trial(folder: Path) -> str:
    """What to try the model on."""
    return "The acting was never dull, but the plot was hardly good."


def report(classifier: TextClassifier) -> None:
    """Print how well it does on reviews never seen, and how often its strongest word is one that decides."""
    found = classifier.evaluate()
    print(f"\nright on {len(found.outputs):,} held-out reviews: {found.scores[0].value:.2f}%")
    pointed = {"pooling": 0, "attention times gradient": 0}
    some = reviews.generate(_POINTED, seed=1, split="test")
    for review in some:
        look = classifier.look(review.text)
        for layer in pointed:
            pointed[layer] += _strongest_word(look, layer) in review.deciding
    for layer, count in pointed.items():
        name = "plain attention" if layer == "pooling" else layer
        print(f"the strongest word by {name} is one that decides: {100 * count / len(some):.1f}%")
    print("\nnever seen in training:")
    for (text, label), (output,) in zip(
        reviews.EXAMPLES.items(), classifier.predict(list(reviews.EXAMPLES)), strict=True
    ):
        verdict = "right" if output.label == label else f"wrong, it is {label}"
        print(f"  {text:<60} {output!s:<40} {verdict}")


def _strongest_word(look: Look, layer: str) -> str:
    weights = look.layer(layer).of_query(0)[:-1]  # END is no word
    words = strongest(look.side("text").pieces, (weights / weights.sum().clamp_min(1e-9)).tolist())
    return words[0][0] if words else ""
