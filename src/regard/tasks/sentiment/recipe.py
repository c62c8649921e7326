"""Everything that decides a run of text classification, as closed, typed values."""

from dataclasses import dataclass, field
from typing import Any, Literal

from regard.models.classifier import Classifier, transformer
from regard.models.recurrent import RecurrentEncoder
from regard.tasks.shape import Shape
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions

Metric = Literal["accuracy", "macro_f1"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the texts are, inside the data folder.

    Args:
        text: The column or key of the text (CSV, TSV, JSONL).
        label: The column or key of its label.
        several: A text may have several labels, or none: divided by commas, or a list in JSON.
        train: Name of the training texts (train.csv, train.tsv, train.jsonl, train.txt, or a folder a label in train).
        validation: Name of the validation texts.
        test: Name of the test texts, which only `regard evaluate` reads.
    """

    text: str = "text"
    label: str = "label"
    several: bool = False
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Model(Shape):
    """The model: an encoder, attention that pools what it read, and a linear layer.

    Args:
        architecture: The encoder: transformer, or recurrent (a bidirectional GRU).
        pooling_heads: How many learned queries pool the text, each its share of the features.
        word_dropout: Probability in training that a token is not read.
    """

    architecture: Literal["transformer", "recurrent"] = "transformer"
    layers: int = 2
    dropout: float = 0.3
    pooling_heads: int = 1
    word_dropout: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.word_dropout < 1.0:
            raise ValueError(
                f"model.word_dropout is a probability, 0 <= word_dropout < 1; got {self.word_dropout}; "
                "usual is --model.word_dropout 0.1"
            )

    def build(self, vocabulary: int, classes: int, encoder: Any = None) -> Classifier:
        """The model, with new weights but for those of a pretrained encoder."""
        dim = self.dim
        if encoder is not None:
            dim = encoder.dim
        elif self.architecture == "transformer":
            encoder = transformer(vocabulary, self.shape)
        else:
            dim = self.hidden
            encoder = RecurrentEncoder(
                vocabulary, self.dim, dim, layers=self.layers, dropout=self.dropout, starts=False
            )
        return Classifier(
            encoder,
            dim,
            classes,
            heads=self.pooling_heads,
            dropout=self.dropout,
            word_dropout=self.word_dropout,
        )

    def packs(self, training: TrainingOptions) -> bool:
        """Whether the model trains on packed batches there; a recurrent one reads rows."""
        return self.architecture == "transformer" and super().packs(training)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A run of text classification.

    Args:
        data: The folder with the texts.
        files: What is called how in it.
        start: A pretrained model to begin with, hf:ID or hf:FOLDER (`--from`): an encoder with its tokenizer, under
            this model's pooling; `sub_words` and the encoder's shape in `model` are not read (null: none).
        sub_words: How text is cut.
        model: The model.
        batch_tokens: Tokens of a batch, padding included (counted also where the batch is packed and has none).
        label_smoothing: Share of the probability that is spread over all classes.
        class_weights: none, or balanced: what a text counts in training is inverse to how frequent its class is.
        metric: What validation maximises: accuracy or macro_f1 (the mean of the classes' F1).
        training: Optimiser, schedule, time.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    sub_words: SubWords = field(default_factory=SubWords)
    model: Model = field(default_factory=Model)
    batch_tokens: int = 2048
    label_smoothing: float = 0.0
    class_weights: Literal["none", "balanced"] = "none"
    metric: Metric = "accuracy"
    training: TrainingOptions = field(default_factory=TrainingOptions)
