"""The demo: a small Transformer that learns to write dates, times and numbers in their ISO form."""

from pathlib import Path

from regard.decoding import Beam
from regard.tasks import dates
from regard.tasks.translation.recipe import Files, Model, Recipe, SubWords
from regard.training import TrainingOptions

PAIRS = 45_000
EPOCHS = 4


def write_data(folder: Path, *, pairs: int = PAIRS) -> None:
    """Make the training, validation and test pairs, as a person would bring them: two text files each."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = {"train": pairs, "validation": dates.SIZES["validation"], "test": dates.SIZES["test"]}
    for split, size in sizes.items():
        text = dates.generate(size, seed=1, split=split)  # type: ignore[arg-type]
        for name, lines in (("text", text.sources), ("iso", text.targets)):
            (folder / f"{split}.{name}").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


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
