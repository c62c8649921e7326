"""Everything that decides a run of segmentation, as closed, typed values."""

from dataclasses import dataclass, field
from typing import Any, Literal

from regard.data.augmentation import Augmentation
from regard.models.segmenter import Segmenter
from regard.models.vision import Patches, VisionTransformer
from regard.tasks.sight import Sight
from regard.training import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the pictures and masks are, inside the data folder (COCO and Pascal VOC are found by themselves).

    Args:
        pictures: The folder of the pictures; {split} stands for the split's name.
        masks: The folder of the masks: PNGs of the same names.
        classes: The classes in the order of their numbers, "road", or with their colour in masks, "road 128 64 128"
            (null: from classes.txt or class_dict.csv in the data folder, or numbered).
        ignore: The number in masks that counts nowhere, beside 255 (null: none).
        broken: What to do about a picture or mask that cannot be read or does not fit: stop, or skip it, and say so.
        train: Name of the training split.
        validation: Name of the validation split.
        test: Name of the test split, which only `regard evaluate` reads.
    """

    pictures: str = "images/{split}"
    masks: str = "masks/{split}"
    classes: list[str] | None = None
    ignore: int | None = None
    broken: Literal["stop", "skip"] = "stop"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Model(Sight):
    """The model: a visual encoder, a pyramid over its maps, and classes that attend to them.

    Args:
        encoder: pyramid (convolutions, and attention at coarse strides) or vit (a Vision Transformer over patches, to
            which the options of the strides say nothing).
        dim: Width of the Vision Transformer (vit).
        layers: Its blocks (vit).
        heads: Its attention heads (vit).
        patch: Width of a patch in pixels (vit).
        width: Width of the vectors of pixels and classes.
        class_layers: Blocks in which classes attend to the picture (0: a class has one vector for all pictures).
        class_heads: Attention heads of those.
    """

    encoder: Literal["pyramid", "vit"] = "pyramid"
    dims: list[int] = field(default_factory=lambda: [48, 96, 160, 256])
    convolutions: list[int] = field(default_factory=lambda: [2, 2, 1, 1])
    attention: list[int] = field(default_factory=lambda: [0, 1, 2, 2])
    dropout: float = 0.1
    dim: int = 192
    layers: int = 6
    heads: int = 3
    patch: int = 16
    width: int = 96
    class_layers: int = 2
    class_heads: int = 4

    def build(self, classes: int, encoder: Any = None) -> Segmenter:
        """The model, with new weights but for those of a pretrained encoder."""
        if encoder is None:
            encoder = self.sight() if self.encoder == "pyramid" else VisionTransformer(self._patches())
        return Segmenter(
            encoder,
            classes,
            dim=self.width,
            layers=self.class_layers,
            heads=self.class_heads,
            dropout=self.dropout,
        )

    def _patches(self) -> Patches:
        return Patches(
            dim=self.dim,
            layers=self.layers,
            heads=self.heads,
            feed_forward=2 * self.dim,
            patch=self.patch,
            dropout=self.dropout,
        )


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """How masks are found.

    Args:
        window: Side of square windows that slide over a larger picture; their probabilities are averaged where they
            overlap (0: the whole picture at once).
        overlap: Share of a window that the next one covers too.
        mirror: Average with what is found in a mirror.
    """

    window: int = 0
    overlap: float = 0.5
    mirror: bool = False

    def __post_init__(self) -> None:
        if self.window < 0 or 0 < self.window < 64:
            raise ValueError(f"prediction.window is a side of 64 pixels or more, or 0 for the whole; got {self.window}")
        if not 0.0 <= self.overlap < 1.0:
            raise ValueError(f"prediction.overlap is a share, 0 <= overlap < 1; got {self.overlap}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of segmentation.

    Args:
        data: The folder with the pictures.
        files: What is called how in it.
        start: A pretrained encoder to begin with, hf:ID or hf:FOLDER (`--backbone`); the encoder's shape in `model`
            is not read (null: none).
        model: The model.
        augmentation: How pictures are changed anew in each epoch.
        longest: Larger pictures are brought to this many pixels on their longer side (null: never).
        crop: Height and width of what is trained on.
        batch: Pictures of a batch.
        class_weights: What a pixel counts in training: none (all the same), or balanced (rare classes more: the root
            of the inverse of how frequent a class is, 1 in the mean over pixels).
        dice: Share of the loss that is 1 - Dice, class by class, which counts a small class as much as a large one.
        coarse: Weight of the loss of the logits read off the coarse map.
        label_smoothing: Share of the probability that is spread over all classes.
        metric: What validation maximises: miou, or accuracy (of pixels).
        prediction: How masks are found.
        training: Optimiser, schedule, time.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    model: Model = field(default_factory=Model)
    augmentation: Augmentation = field(default_factory=Augmentation)
    longest: int | None = None
    crop: list[int] = field(default_factory=lambda: [256, 256])
    batch: int = 8
    class_weights: Literal["none", "balanced"] = "balanced"
    dice: float = 0.25
    coarse: float = 0.4
    label_smoothing: float = 0.0
    metric: Literal["miou", "accuracy"] = "miou"
    prediction: Prediction = field(default_factory=Prediction)
    training: TrainingOptions = field(default_factory=TrainingOptions)

    def __post_init__(self) -> None:
        if len(self.crop) != 2 or min(self.crop) < 32:
            raise ValueError(f"crop is a height and a width of 32 pixels or more, such as [256, 256]; got {self.crop}")
        if self.longest is not None and self.longest < 32:
            raise ValueError(f"longest is 32 pixels or more, or null; got {self.longest}")
        if self.batch < 1:
            raise ValueError(f"batch is 1 picture or more; got {self.batch}")
        if not 0.0 <= self.dice <= 1.0:
            raise ValueError(f"dice is a share of the loss, from 0 to 1; got {self.dice}")
