"""Everything that decides a summarization run, as closed, typed values."""

from dataclasses import dataclass, field, replace
from typing import Literal

from regard.decoding import Beam
from regard.models.pointer import PointerTransformer
from regard.models.transformer import Layers, Transformer
from regard.tasks.shape import Shape
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions

Metric = Literal["rouge", "rouge1", "rouge2", "rougeL"]


@dataclass(frozen=True, kw_only=True)
class Files:
    """Where the documents are, inside the data folder.

    Args:
        source: The key, column or ending of the document.
        target: That of its summary; several are a list, or target1, target2 and so on.
        train: Name of the training documents (train.jsonl, train.csv, train.tsv, or train.document and train.summary).
        validation: Name of the validation documents.
        test: Name of the test documents, which only `regard evaluate` reads.
    """

    source: str = "document"
    target: str = "summary"
    train: str = "train"
    validation: str = "val"
    test: str = "test"


@dataclass(frozen=True, kw_only=True)
class Model(Shape):
    """The model.

    Args:
        copy: Whether a word can be copied from the document by attention (pointer-generator).
        window: Tokens of the document that a token sees to either side (null: all); with it time and memory are O(n).
        global_tokens: Beside a window, the first tokens of the document, which see all and are seen by all.
    """

    copy: bool = True
    window: int | None = None
    global_tokens: int = 1

    def build(self, vocabulary: int) -> Transformer:
        """The model, with new weights."""
        if self.copy:
            return PointerTransformer(vocabulary, encoder=self.encoder, decoder=self.shape)
        return Transformer(vocabulary, vocabulary, encoder=self.encoder, decoder=self.shape, share=True)

    @property
    def encoder(self) -> Layers:
        """The encoder, which alone has a window."""
        return replace(self.shape, window=self.window, global_tokens=self.global_tokens)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A summarization run.

    Args:
        data: The folder with the documents.
        files: What is called how in it.
        start: A pretrained model to begin with, hf:ID or hf:FOLDER (`--from`); its tokenizer and shape are taken, and
            `sub_words` and `model` are not read (null: none).
        sub_words: How text is cut, documents and summaries alike.
        model: The model.
        longest: Tokens of the longest document that is read; a longer one is an error, and nothing is cut off.
        batch_tokens: Tokens of a batch, padding included (counted also where the batch is packed and has none).
        label_smoothing: Share of the probability that is spread over all tokens.
        coverage: Weight of the loss for attending again to what was attended to (0: off; needs model.copy).
        metric: What validation maximises: rouge1, rouge2, rougeL, or rouge, the mean of the three.
        lead: Sentences of the lead baseline, which `evaluate` measures beside the model.
        training: Optimiser, schedule, time.
        decoding: How `evaluate`, `predict` and `look` search; validation in training is greedy.
    """

    data: str
    files: Files = field(default_factory=Files)
    start: str | None = None
    sub_words: SubWords = field(default_factory=SubWords)
    model: Model = field(default_factory=Model)
    longest: int = 16384
    batch_tokens: int = 4096
    label_smoothing: float = 0.1
    coverage: float = 0.0
    metric: Metric = "rouge"
    lead: int = 3
    training: TrainingOptions = field(default_factory=TrainingOptions)
    decoding: Beam = field(default_factory=lambda: Beam(max_length=200, no_repeat_ngram=3))

    def __post_init__(self) -> None:
        if self.coverage < 0:
            raise ValueError(f"coverage is the weight of a loss, 0 or more; got {self.coverage}")
        if self.coverage and self.start:
            raise ValueError("coverage is of the attention that copies, which a pretrained model has not: --coverage 0")
        if self.coverage and not self.model.copy:
            raise ValueError("coverage is of the attention that copies: --model.copy true, or --coverage 0")
        for name in ("longest", "lead"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
