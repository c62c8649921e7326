"""Everything that decides a run of captioning, as closed, typed values."""

from dataclasses import dataclass, field
from typing import Any, Literal

from regard.data.augmentation import Augmentation
from regard.decoding import Beam
from regard.models.captioner import Captioner, ShowAttendTell
from regard.models.transformer import Layers
from regard.tasks.sight import Sight
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the pictures and captions are, inside the data folder (those of COCO, Karpathy and Flickr are found).

    Args:
        pictures: The folder of the pictures; {split} stands for the split's name.
        picture: The column or key of a picture's file (CSV, TSV, JSONL).
        caption: The column or key of its caption.
        broken: What to do about a picture that cannot be read: stop, or skip it, and say so.
        train: Name of the training split.
        validation: Name of the validation split.
        test: Name of the test split, which only `regard evaluate` reads.
    """

    pictures: str = "images"
    picture: str = "image"
    caption: str = "caption"
    broken: Literal["stop", "skip"] = "stop"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Model(Sight):
    """The model: a visual encoder, and a decoder whose words attend to its places.

    Args:
        architecture: The decoder: transformer, or that of Show, Attend and Tell with soft attention, or with hard.
        level: Which of the encoder's maps words attend to, from 0 (stride 4) to 3 (stride 32); it ends there.
        dim: Width of the decoder, of embeddings and places.
        layers: Blocks of the decoder (transformer).
        heads: Its attention heads (transformer).
        feed_forward: Width inside its feed-forward layers (transformer).
        hidden: Width of its state (soft, hard).
    """

    architecture: Literal["transformer", "soft", "hard"] = "transformer"
    dropout: float = 0.3
    level: int = 2
    dim: int = 256
    layers: int = 3
    heads: int = 8
    feed_forward: int = 512
    hidden: int = 512

    def build(self, vocabulary: int, encoder: Any = None) -> Captioner | ShowAttendTell:
        """The model, with new weights but for those of a pretrained encoder."""
        encoder = self.sight(self.level + 1) if encoder is None else encoder
        if self.architecture != "transformer":
            return ShowAttendTell(
                encoder,
                vocabulary,
                dim=self.dim,
                hidden=self.hidden,
                hard=self.architecture == "hard",
                dropout=self.dropout,
                level=self.level,
            )
        shape = Layers(
            dim=self.dim,
            heads=self.heads,
            feed_forward=self.feed_forward,
            layers=self.layers,
            dropout=self.dropout,
        )
        return Captioner(encoder, vocabulary, shape, level=self.level)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of captioning.

    Args:
        data: The folder with the pictures.
        files: What is called how in it.
        start: A pretrained encoder to begin with, hf:ID or hf:FOLDER (`--backbone`); the encoder's shape in `model`
            is not read (null: none).
        sub_words: How captions are cut.
        model: The model.
        augmentation: How pictures are changed anew in each epoch.
        size: Height and width that pictures are brought to, their shape not kept.
        batch: Pictures of a batch, each with all of its captions.
        label_smoothing: Share of the probability that is spread over all tokens.
        received: Weight of the loss of places that receive more or less attention than 1 of all words (soft, hard).
        metric: What validation maximises: bleu4 or cider.
        training: Optimiser, schedule, time.
        decoding: How `evaluate`, `predict` and `look` search; validation in training is greedy.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    sub_words: SubWords = field(default_factory=lambda: SubWords(vocabulary=4000, lowercase=True))
    model: Model = field(default_factory=Model)
    augmentation: Augmentation = field(
        default_factory=lambda: Augmentation(smallest=1.0, largest=1.4, stretch=1.1, colour=0.3)
    )
    size: list[int] = field(default_factory=lambda: [160, 160])
    batch: int = 16
    label_smoothing: float = 0.1
    received: float = 0.0
    metric: Literal["bleu4", "cider"] = "bleu4"
    training: TrainingOptions = field(default_factory=TrainingOptions)
    decoding: Beam = field(default_factory=lambda: Beam(width=5, max_length=40))

    def __post_init__(self) -> None:
        if len(self.size) != 2 or min(self.size) < 32:
            raise ValueError(f"size is a height and a width of 32 pixels or more, such as [160, 160]; got {self.size}")
        if self.batch < 1:
            raise ValueError(f"batch is 1 picture or more; got {self.batch}")
        if self.received and self.model.architecture == "transformer":
            raise ValueError("received is for the decoders soft and hard: leave it out, or --model.architecture soft")
