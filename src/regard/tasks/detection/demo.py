"""The demo: a small detector that learns to find the shapes of drawn scenes."""

import json
from pathlib import Path
from random import Random

from regard.data.augmentation import Augmentation
from regard.data.pictures import to_png
from regard.tasks.detection.picture_detector import PictureDetector
from regard.tasks.detection.recipe import Helps, Model, Recipe, Weights
from regard.tasks.scenes import SHAPES, draw
from regard.training import TrainingOptions

DESCRIPTION = "drawn scenes of shapes over each other, each shape found and named"
TITLE = "Where each thing looked"
EXAMPLES = 600
EPOCHS = 9
SIZES = {"val": 40, "test": 100}
_MOST = 5  # things of a scene


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Draw the training, validation and test scenes, with a file of COCO's form for each; what a few of them show."""
    shown: list[str] = []
    categories = [{"id": place + 1, "name": name} for place, name in enumerate(SHAPES)]
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split, size in {"train": examples, **SIZES}.items():
        pictures = folder / "images" / split
        pictures.mkdir(parents=True, exist_ok=True)
        images: list[dict[str, object]] = []
        annotations: list[dict[str, object]] = []
        for number in range(size):
            drawn = draw(Random(f"1 {split} {number}"), most=_MOST)
            name = f"{number:04d}.png"
            (pictures / name).write_bytes(to_png(drawn.scene.picture))
            images.append({"id": number, "file_name": name})
            assert drawn.scene.boxes is not None
            for box, thing in zip(drawn.scene.boxes.tolist(), drawn.things, strict=True):
                left, top, right, bottom = box
                annotations.append(
                    {
                        "id": len(annotations),
                        "image_id": number,
                        "category_id": SHAPES.index(thing.shape) + 1,
                        "bbox": [left, top, right - left, bottom - top],
                    }
                )
            if len(shown) < 3:
                shown.append(f"images/{split}/{name}: {drawn}")
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / "annotations" / f"{split}.json").write_text(json.dumps(content), encoding="utf-8")
    return shown


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: a few minutes on two CPU cores."""
    return Recipe(
        data=str(folder),
        model=Model(
            dims=[24, 48, 96, 128],
            convolutions=[1, 2, 3, 1],
            attention=[0, 0, 0, 1],
            attends=["none", "none", "none", "global"],
            width=64,
            layers=2,
            heads=4,
            queries=16,
        ),
        helps=Helps(denoising=0, more=0),  # which did not pay in so short a run
        loss=Weights(label=4.0),
        augmentation=Augmentation(smallest=0.8, largest=1.3, colour=0.2),
        size=[96, 96],
        batch=8,
        training=TrainingOptions(
            epochs=epochs, learning_rate=4e-3, warmup_steps=50, validate_every=3, weight_decay=0.01, average=1
        ),
    )


def report(detector: PictureDetector) -> None:
    """Print how well it does on scenes never seen."""
    found = detector.evaluate()
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
