"""Everything that decides a translation run, as closed, typed values: one source for YAML, flags and their help."""

from dataclasses import dataclass, field
from typing import Literal

from regard.decoding import Beam
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.transformer import Transformer
from regard.tasks import sub_words
from regard.tasks.shape import Shape
from regard.training import TrainingOptions

Architecture = Literal["transformer", "recurrent", "bahdanau", "luong-general", "luong-dot"]
Metric = Literal["bleu", "chrf", "exact"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the sentences are, inside the data folder.

    Args:
        source: The source language: an ending (train.en), a column or a key.
        target: The target language.
        train: Name of the training pairs (train.en and train.de, train.tsv or train.jsonl; plain or .gz).
        validation: Name of the validation pairs.
        test: Name of the test pairs, which only `regard evaluate` reads.
    """

    source: str = "en"
    target: str = "de"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class SubWords(sub_words.SubWords):
    """How text is cut into sub-words; the vocabulary is of both languages together where joint.

    Args:
        joint: One vocabulary for both languages.
    """

    joint: bool = True


@dataclass(frozen=True, kw_only=True)
class Model(Shape):
    """The model.

    Args:
        architecture: transformer, or what it replaced: recurrent (no attention), bahdanau, luong-general, luong-dot.
        share: One table for source, target and output (transformer with a joint vocabulary).
    """

    architecture: Architecture = "transformer"
    share: bool = True

    def build(self, source_vocabulary: int, target_vocabulary: int, *, joint: bool) -> Transformer | RecurrentSeq2Seq:
        """The model, with new weights."""
        if self.architecture != "transformer":
            attention = {"recurrent": "none", "luong-general": "general", "luong-dot": "dot"}
            return RecurrentSeq2Seq(
                source_vocabulary,
                target_vocabulary,
                dim=self.dim,
                hidden=self.hidden,
                layers=self.layers,
                dropout=self.dropout,
                attention=attention.get(self.architecture, "bahdanau"),  # type: ignore[arg-type]
            )
        return Transformer(
            source_vocabulary, target_vocabulary, encoder=self.shape, decoder=self.shape, share=self.share and joint
        )

    def packs(self, training: TrainingOptions) -> bool:
        """Whether the model trains on packed batches there; a recurrent one reads rows."""
        return self.architecture == "transformer" and super().packs(training)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A translation run.

    Args:
        data: The folder with the sentences.
        files: What is called how in it.
        start: A pretrained model to begin with, hf:ID or hf:FOLDER (`--from`); its tokenizer and shape are taken, and
            `sub_words` and `model` are not read (null: none).
        sub_words: How text is cut.
        model: The model.
        batch_tokens: Tokens of a batch, padding included (counted also where the batch is packed and has none).
        label_smoothing: Share of the probability that is spread over all tokens.
        metric: What validation maximises: bleu, chrf or exact (the share of outputs that are right to the letter).
        training: Optimiser, schedule, time.
        decoding: How `evaluate`, `predict` and `look` search; validation in training is greedy.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    sub_words: SubWords = field(default_factory=SubWords)
    model: Model = field(default_factory=Model)
    batch_tokens: int = 2048
    label_smoothing: float = 0.1
    metric: Metric = "bleu"
    training: TrainingOptions = field(default_factory=TrainingOptions)
    decoding: Beam = field(default_factory=Beam)
