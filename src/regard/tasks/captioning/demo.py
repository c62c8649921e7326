"""The demo: a small captioner that learns to say what drawn scenes show."""

import json
from pathlib import Path
from random import Random

from regard.data.augmentation import Augmentation
from regard.data.pictures import to_png
from regard.tasks.captioning.picture_captioner import PictureCaptioner
from regard.tasks.captioning.recipe import Files, Model, Recipe
from regard.tasks.phrases import captions
from regard.tasks.scenes import draw
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions

DESCRIPTION = "drawn scenes of shapes, told in a sentence, each word with the places it looked at"
TITLE = "What each word looked at"
EXAMPLES = 1000
EPOCHS = 12
SIZES = {"val": 100, "test": 100}
_SIDE, _MOST = 64, 2
_SHOWN = 3


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Draw the training, validation and test scenes, with five captions each in JSON lines; a few of them to show."""
    shown: list[str] = []
    for split, size in {"train": examples, **SIZES}.items():
        pictures = folder / "images" / split
        pictures.mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(size):
            random = Random(f"1 {split} {number}")
            drawn = draw(random, side=_SIDE, most=_MOST)
            name = f"{number:04d}.png"
            (pictures / name).write_bytes(to_png(drawn.scene.picture))
            said = captions(drawn, random)
            rows.append(json.dumps({"image": name, "caption": said}))
            if len(shown) < 3:
                shown.append(f"images/{split}/{name}: {said[0]}")
        (folder / f"{split}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return shown


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: a few minutes on two CPU cores."""
    return Recipe(
        data=str(folder),
        files=Files(pictures="images/{split}"),
        sub_words=SubWords(vocabulary=120, lowercase=True),
        model=Model(
            dims=[24, 48, 96, 128],
            convolutions=[1, 1, 0, 0],
            attention=[0, 0, 0, 0],
            attends=["none", "none", "none", "none"],
            level=1,
            dim=64,
            layers=2,
            heads=4,
            feed_forward=128,
            dropout=0.1,
        ),
        # No mirror: left is not right.
        augmentation=Augmentation(flip=0.0, smallest=1.0, largest=1.1, stretch=1.0, colour=0.1),
        size=[_SIDE, _SIDE],
        batch=16,
        training=TrainingOptions(epochs=epochs, learning_rate=2e-3, warmup_steps=100, weight_decay=0.01, average=1),
    )


def report(captioner: PictureCaptioner) -> None:
    """Print how well it does on scenes never seen, and what it says of a few of them."""
    found = captioner.evaluate()
    print(f"\non {len(found.outputs)} scenes never seen:")
    for score in found.scores:
        print(f"  {score}")
    print(found.table)
    print("\nnever seen in training:")
    for number, caption in enumerate(found.outputs[:_SHOWN]):
        print(f"  {number:04d}.png   {caption}")


def looks(folder: Path) -> list[str]:
    """The scenes that are looked at."""
    return [str(folder / "images" / "test" / f"{number:04d}.png") for number in range(_SHOWN)]


def trial(folder: Path) -> str:
    """What to try the model on."""
    return looks(folder)[0]
