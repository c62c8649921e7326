"""The demo: a small Transformer that learns to write dates, times and numbers in their ISO form."""

from pathlib import Path

from regard.decoding import Beam
from regard.tasks import dates
from regard.tasks.translation.recipe import Files, Model, Recipe, SubWords
from regard.tasks.translation.translator import Translator
from regard.training import TrainingOptions

DESCRIPTION = "dates, times and numbers of some twenty languages, written in their ISO form"
TITLE = "Dates of the world"
EXAMPLES = 45_000
EPOCHS = 4


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Make the training, validation and test pairs, as a person would bring them: two text files each; some to show."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": examples, "validation": dates.SIZES["validation"], "test": dates.SIZES["test"]}
    for split, size in sizes.items():
        text = dates.generate(size, seed=1, split=split)  # type: ignore[arg-type]
        for name, lines in (("text", text.sources), ("iso", text.targets)):
            (folder / f"{split}.{name}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return [f"{text}  ->  {iso}" for text, iso in list(dates.EXAMPLES.items())[:3]]


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: characters and small sub-words in, digits out, about two minutes on two CPU cores."""
    return Recipe(
        data=str(folder),
        files=Files(source="text", target="iso", train="train", validation="validation", test="test"),
        sub_words=SubWords(vocabulary=500, joint=True, lowercase=True),
        model=Model(dim=64, layers=2, heads=4, feed_forward=256, dropout=0.0),
        batch_tokens=1024,
        label_smoothing=0.0,
        metric="exact",
        training=TrainingOptions(epochs=epochs, learning_rate=4e-3, warmup_steps=200, average=1),
        decoding=Beam(width=2, max_length=32),
    )


def looks(folder: Path) -> list[str]:
    """What is looked at when the demo has trained."""
    return list(dates.EXAMPLES)[:4]


def trial(folder: Path) -> str:
    """What to try the model on."""
    return "den 3. Mai 1999"


def report(translator: Translator) -> None:
    """Print how well it does on what it has never seen."""
    exact = next(score.value for score in translator.evaluate().scores if score.name == "exact match")
    print(f"\nright to the letter on held-out dates, times and numbers: {exact:.2f}%")
    print("\nnever seen in training:")
    for (text, iso), outputs in zip(dates.EXAMPLES.items(), translator.predict(list(dates.EXAMPLES)), strict=True):
        verdict = "right" if outputs[0].text == iso else f"wrong, it is {iso}"
        print(f"  {text:<44} {outputs[0].text:<12} {verdict}")
