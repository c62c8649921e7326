"""Everything that decides a run of detection, as closed, typed values."""

from dataclasses import dataclass, field
from typing import Any, Literal

from regard.data.augmentation import Augmentation
from regard.models.detector import Detector
from regard.tasks.sight import Sight
from regard.training import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the pictures and boxes are, inside the data folder (COCO and Pascal VOC are found by themselves).

    Args:
        pictures: The folder of the pictures; {split} stands for the split's name.
        labels: The folder of YOLO's texts.
        classes: The names of the classes in the order of their numbers (null: as the data name them).
        broken: What to do about a picture or its boxes that cannot be read: stop, or skip it, and say so.
        train: Name of the training split.
        validation: Name of the validation split.
        test: Name of the test split, which only `regard evaluate` reads.
    """

    pictures: str = "images/{split}"
    labels: str = "labels/{split}"
    classes: list[str] | None = None
    broken: Literal["stop", "skip"] = "stop"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Model(Sight):
    """The model: a visual encoder, a pyramid over its maps, and queries that refine boxes.

    Args:
        width: Width of queries and of the pyramid's cells.
        layers: Layers of the decoder.
        heads: Its attention heads.
        queries: Things that a picture may have, at most.
        points: Points along a side of the grid in a box that a query attends to.
    """

    width: int = 128
    layers: int = 3
    heads: int = 8
    queries: int = 100
    points: int = 4

    def build(self, classes: int, encoder: Any = None) -> Detector:
        """The model, with new weights but for those of a pretrained encoder."""
        return Detector(
            self.sight() if encoder is None else encoder,
            classes,
            dim=self.width,
            layers=self.layers,
            heads=self.heads,
            queries=self.queries,
            points=self.points,
            dropout=self.dropout,
        )


@dataclass(frozen=True, kw_only=True)
class Helps:
    """What training has beside one query for each thing, so that little data is enough.

    Args:
        cells: Weight of the loss of the pyramid's cells, several of which are responsible for a thing.
        denoising: Queries that begin as known things under noise, to be cleaned of it, about so many (0: none).
        more: Further queries, for which every thing is there several times (0: none).
        repeats: How many times.
    """

    cells: float = 1.0
    denoising: int = 100
    more: int = 100
    repeats: int = 4


@dataclass(frozen=True, kw_only=True)
class Weights:
    """How much each part of the loss counts (RT-DETR: Zhao et al. 2024).

    Args:
        label: The classes; more where they are hard to tell apart.
        corners: The sum of differences of a box's four numbers.
        overlap: 1 - the generalised intersection over union.
    """

    label: float = 1.0
    corners: float = 5.0
    overlap: float = 2.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of detection.

    Args:
        data: The folder with the pictures.
        files: What is called how in it.
        start: A pretrained encoder to begin with, hf:ID or hf:FOLDER (`--backbone`); the encoder's shape in `model`
            is not read (null: none).
        model: The model.
        helps: What training has beside one query for each thing.
        loss: How much each part of the loss counts.
        augmentation: How pictures are changed anew in each epoch.
        size: Height and width that pictures are brought to, filled up with grey where they have another shape.
        batch: Pictures of a batch.
        least: Probability below which nothing is said to be found.
        metric: What validation maximises: ap (COCO's, the mean over overlaps from 0.5 to 0.95), or ap50.
        training: Optimiser, schedule, time.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    model: Model = field(default_factory=Model)
    helps: Helps = field(default_factory=Helps)
    loss: Weights = field(default_factory=Weights)
    augmentation: Augmentation = field(default_factory=lambda: Augmentation(smallest=0.6, largest=1.6, mosaic=0.5))
    size: list[int] = field(default_factory=lambda: [320, 320])
    batch: int = 8
    least: float = 0.3
    metric: Literal["ap", "ap50"] = "ap"
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"size is a height and a width of 32 pixels or more, such as [320, 320]; got {self.size}")
        if self.batch < 1:
            raise ValueError(f"batch is 1 picture or more; got {self.batch}")
        if not 0.0 <= self.least < 1.0:
            raise ValueError(f"least is a probability, 0 <= least < 1; got {self.least}")
