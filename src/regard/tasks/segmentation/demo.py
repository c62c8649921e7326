"""The demo: a small segmenter that learns which shape each pixel of a drawn scene belongs to."""

from pathlib import Path
from random import Random

from regard.data.augmentation import Augmentation
from regard.data.pictures import to_png
from regard.tasks.scenes import BACKGROUND, SHAPES, draw
from regard.tasks.segmentation.picture_segmenter import PictureSegmenter
from regard.tasks.segmentation.recipe import Model, Recipe
from regard.training import TrainingOptions

DESCRIPTION = "drawn scenes of shapes over each other, each pixel told which shape it shows"
TITLE = "Where each class looked"
EXAMPLES = 600
EPOCHS = 12
SIZES = {"val": 60, "test": 100}


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Draw the training, validation and test scenes, a picture and a mask each; what a few of them show."""
    shown: list[str] = []
    for split, size in {"train": examples, **SIZES}.items():
        pictures, masks = folder / "images" / split, folder / "masks" / split
        for path in (pictures, masks):
            path.mkdir(parents=True, exist_ok=True)
        for number in range(size):
            drawn = draw(Random(f"1 {split} {number}"))
            name = f"{number:04d}.png"
            assert drawn.scene.mask is not None
            (pictures / name).write_bytes(to_png(drawn.scene.picture))
            (masks / name).write_bytes(to_png(drawn.scene.mask))
            if len(shown) < 3:
                shown.append(f"images/{split}/{name}: {drawn}")
    (folder / "classes.txt").write_text("".join(f"{name}\n" for name in (BACKGROUND, *SHAPES)), encoding="utf-8")
    return shown


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: a few minutes on two CPU cores."""
    return Recipe(
        data=str(folder),
        model=Model(
            dims=[24, 48, 96, 128],
            convolutions=[1, 1, 1, 0],
            attention=[0, 0, 2, 1],
            attends=["none", "none", "global", "global"],
            width=64,
            dropout=0.0,
        ),
        augmentation=Augmentation(smallest=0.8, largest=1.4, colour=0.2),
        crop=[96, 96],
        batch=16,
        training=TrainingOptions(epochs=epochs, learning_rate=3e-3, warmup_steps=50, weight_decay=0.01, average=1),
    )


def report(segmenter: PictureSegmenter) -> None:
    """Print how well it does on scenes never seen."""
    found = segmenter.evaluate()
    print(f"\non {len(found.outputs)} scenes never seen:")
    for score in found.scores:
        print(f"  {score}")
    print(found.table)


def looks(folder: Path) -> list[str]:
    """The scenes that are looked at."""
    return [str(folder / "images" / "test" / f"{number:04d}.png") for number in range(3)]


def trial(folder: Path) -> str:
    """What to try the model on."""
    return looks(folder)[0]
