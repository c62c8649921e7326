"""Classifying texts with a trained model, and the training of one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from regard.attention import watch
from regard.data.batches import length_batches
from regard.data.labelled import LabelledText, read_labelled
from regard.data.labelled_batches import LabelledBatch, LabelledBatches
from regard.data.tokenizer import Tokenizer
from regard.explain import pooled_relevance, relevance
from regard.explain.look import Look, Side, of_weights, records
from regard.explain.pieces import SPACE, Piece, read
from regard.models.device import device_of
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import reopen
from regard.tasks.sentiment import metrics
from regard.tasks.sentiment.recipe import Recipe
from regard.training import RunDirectory
from regard.training.programs import Exported

_BATCH_TOKENS = 2048  # that are classified at a time
_WORDS = 3  # that are named as what carried a decision, at most
_LEAST = 0.1  # of all relevance, to be named
_POOLING = "pooling"  # the name of the layer
_BY_GRADIENT = "decision, by its gradient"  # a side of its own: a picture averages layers of one side
_ATTENDS = {_POOLING: ("decision", "text"), "*": ("text", "text")}


@dataclass(frozen=True, kw_only=True)
class Output:
    """What a text was found to be.

    Args:
        labels: one, unless texts may have several or none.
        probabilities: of every class.
        words: those that carried the decision, the strongest first, and their share of all relevance.
    """

    labels: tuple[str, ...]
    probabilities: dict[str, float]
    words: tuple[tuple[str, float], ...]

    @property
    def label(self) -> str:
        """The labels as one text."""
        return ",".join(self.labels)

    def __str__(self) -> str:
        shown = [f"{label} {self.probabilities[label]:.2f}" for label in self.labels] or ["none"]
        return "   ".join([", ".join(shown), ", ".join(word for word, _ in self.words)]).rstrip()

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "labels": list(self.labels),
            "probabilities": {label: round(p, 6) for label, p in self.probabilities.items()},
            "words": [{"word": word, "share": round(share, 4)} for word, share in self.words],
        }


class TextClassifier:
    """A trained model with its tokenizer and its classes; reads weights and plain text files, executes nothing."""

    reads = "texts"

    def __init__(self, model: Any, tokenizer: Tokenizer, classes: Sequence[str], recipe: Recipe) -> None:
        self.model, self.tokenizer, self.classes, self.recipe = model.eval(), tokenizer, list(classes), recipe

    @property
    def device(self) -> torch.device:
        """Where the model computes."""
        return device_of(self.model)

    def predict(self, texts: Sequence[str]) -> list[list[Output]]:
        """What each text is, and the words that carried the decision (attention times gradient), of weights alone:
        programs do not say.
        """
        encoded = self.tokenizer.encode(texts)
        outputs: list[list[Output]] = [[] for _ in texts]
        for batch in length_batches(encoded, tokens=_BATCH_TOKENS):
            if isinstance(self.model, Exported):
                logits, shares = self.model(batch.source, batch.source_lengths), torch.zeros(batch.source.shape)
            else:
                logits, shares = self._explained(batch.source, batch.source_lengths)
            for row, of_row, share in zip(batch.rows, self._probabilities(logits), shares, strict=True):
                outputs[row] = [self._output(self.tokenizer.spelled(texts[row]), of_row, share)]
        return outputs

    def probabilities(self, texts: Sequence[str]) -> Float[Tensor, "texts classes"]:
        """Of every class, without what carried them."""
        found = torch.zeros(len(texts), len(self.classes))
        with torch.no_grad():
            for batch in length_batches(self.tokenizer.encode(texts), tokens=_BATCH_TOKENS):
                batch = batch.to(self.device)
                found[list(batch.rows)] = self._probabilities(self.model(batch.source, batch.source_lengths))
        return found

    def evaluate(self, *, data: str | None = None, split: str | None = None) -> Evaluation:
        """Every metric of the field on the texts `split` of the folder `data`; as in the recipe, if not given."""
        files = self.recipe.files
        texts = read_labelled(
            data or self.recipe.data, split or files.test, text=files.text, label=files.label, several=files.several
        )
        numbers = texts.numbers(self.classes)
        found = self.probabilities(texts.texts)
        outputs = [",".join(self._labels(row)) for row in found]
        return metrics.evaluation(found, numbers, self.classes, outputs, several=files.several)

    def look(self, text: str) -> Look:
        """Classify `text`, and look at what was attended to: each layer, and the pooling beside its relevance."""
        tokens = self.tokenizer.encode([text])[0]
        batch = next(iter(length_batches([tokens], tokens=len(tokens) + 1))).to(self.device)
        with torch.no_grad(), watch(self.model, *records(len(tokens) + 1)) as seen:
            logits = self.model(batch.source, batch.source_lengths)
        (probabilities,) = self._probabilities(logits)
        spelled = self.tokenizer.spelled(text)
        output = self._output(spelled, probabilities, torch.zeros(len(spelled) + 1))
        _, shares = self._explained(batch.source, batch.source_lengths)
        pieces = read((*spelled, "</s>"))
        decision = Piece(text=output.label or "none", starts=True, special=True)
        sides = [Side(name="text", pieces=pieces), Side(name="decision", pieces=(decision,))]
        sides.append(Side(name=_BY_GRADIENT, pieces=(decision,)))
        look = Look.of(seen, sides, _ATTENDS, title=text, score=float(probabilities.max()))
        weighed = of_weights("attention times gradient", shares.view(1, 1, -1), queries=_BY_GRADIENT, keys="text")
        return Look(title=look.title, sides=look.sides, layers=(*look.layers, weighed), score=look.score)

    def _explained(self, tokens: Tensor, lengths: Tensor) -> tuple[Tensor, Float[Tensor, "texts length"]]:
        """Logits, and each token's share of the relevance for what is decided: the likeliest class, or those given."""
        with torch.enable_grad(), watch(self.model, keep=True) as seen:
            logits = self.model(tokens.to(self.device), lengths.to(self.device))
            margin = self._margin(logits)
            if _POOLING in seen:
                weights = pooled_relevance(seen, margin, pooling=_POOLING).weights[:, 0]
            else:  # a pretrained classifier, which reads its decision off the first position
                weights = relevance(seen, margin, query=0).weights[:, 0]
        return logits.detach(), weights / weights.sum(-1, keepdim=True).clamp_min(1e-20)

    def _margin(self, logits: Float[Tensor, "texts classes"]) -> Float[Tensor, " texts"]:
        """By how much the decision was made: the likeliest class before all others, or the sum of the labels given."""
        if self.recipe.files.several:
            return torch.where((logits > 0).any(-1), logits.clamp_min(0.0).sum(-1), logits.amax(-1))
        first = functional.one_hot(logits.argmax(-1), logits.shape[-1]).bool()
        return logits.amax(-1) - logits.masked_fill(first, -torch.inf).logsumexp(-1)

    def _probabilities(self, logits: Tensor) -> Float[Tensor, "texts classes"]:
        logits = logits.float()
        return (logits.sigmoid() if self.recipe.files.several else logits.softmax(-1)).cpu()

    def _labels(self, probabilities: Float[Tensor, " classes"]) -> tuple[str, ...]:
        (chosen,) = metrics.decided(probabilities.unsqueeze(0), several=self.recipe.files.several)
        return tuple(self.classes[number] for number in chosen.nonzero().flatten().tolist())

    def _output(self, spelled: Sequence[str], probabilities: Tensor, shares: Tensor) -> Output:
        return Output(
            labels=self._labels(probabilities),
            probabilities=dict(zip(self.classes, probabilities.tolist(), strict=True)),
            words=strongest(read(spelled), shares.tolist()),
        )

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "TextClassifier":
        """The classifier of a run whose recipe has been read."""
        encoder, tokenizers = reopen(run, recipe, "encoder")
        classes = run.read_labels()
        model = run.load_model(lambda: recipe.model.build(len(tokenizers.source), len(classes), encoder))
        return cls(model, tokenizers.source, classes, recipe)


def strongest(pieces: Sequence[Piece], shares: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """The words of the greatest shares, each with the sum of its pieces': at most three, none below a tenth.

    A mark before or behind a word is one of its own; one inside belongs to it (don't).
    """
    words = [("", 0.0)]
    marks: list[tuple[str, float]] = []  # behind the last word, until a letter follows
    for piece, share in zip(pieces, shares, strict=False):  # END has a share, and is no word
        text = "" if piece.text == SPACE else piece.text
        last = words[-1]
        if piece.starts or (_has_letters(text) and last[0] and not _has_letters(last[0])):
            words += [*marks, (text, share)]
            marks = []
        elif last[0] and not _has_letters(text):
            marks.append((text, share))
        else:
            joined = [last, *marks, (text, share)]
            words[-1] = "".join(part for part, _ in joined), sum(part for _, part in joined)
            marks = []
    ordered = sorted([*words, *marks], key=lambda word: -word[1])[:_WORDS]
    return tuple(word for word in ordered if word[1] >= _LEAST)


def _has_letters(text: str) -> bool:
    return any(map(str.isalnum, text))


class Classification:
    """What the training engine needs of text classification: a model, batches, a loss and a validation."""

    unit = "texts"

    def __init__(
        self,
        recipe: Recipe,
        tokenizer: Tokenizer,
        classes: Sequence[str],
        train: LabelledText,
        validation: LabelledText,
        encoder: Any = None,
    ) -> None:
        self.recipe, self.tokenizer, self.classes = recipe, tokenizer, list(classes)
        self.metric = recipe.metric
        torch.manual_seed(recipe.training.seed)
        self.model = recipe.model.build(len(tokenizer), len(classes), encoder)
        self._numbers = validation.numbers(self.classes)
        self.batches = self._batches(train, train.numbers(self.classes), "the training texts", trains=True)
        self._validation = self._batches(validation, self._numbers, "the validation texts")
        self._weights = self._class_weights(train)

    def _batches(
        self, texts: LabelledText, numbers: list[tuple[int, ...]], what: str, *, trains: bool = False
    ) -> LabelledBatches:
        recipe = self.recipe
        recut = recipe.sub_words.recut(self.tokenizer, texts.texts, recipe.training.seed) if trains else None
        try:
            return LabelledBatches(
                self.tokenizer.encode(texts.texts),
                numbers,
                tokens=recipe.batch_tokens,
                seed=recipe.training.seed if trains else 0,
                classes=len(self.classes) if recipe.files.several else None,
                packed=not recipe.start and recipe.model.packs(recipe.training),
                recut=None if recut is None else recut.epoch,
            )
        except ValueError as error:
            raise ValueError(f"{what}: {error} (tokens is the recipe's batch_tokens)") from None

    def _class_weights(self, train: LabelledText) -> Float[Tensor, " classes"] | None:
        """What a text of each class counts, 1 in the mean over texts; of several labels, what having one counts."""
        if self.recipe.class_weights == "none":
            return None
        counts = torch.zeros(len(self.classes))
        for numbers in train.numbers(self.classes):
            counts[list(numbers)] += 1
        if self.recipe.files.several:
            return (len(train) - counts) / counts
        return len(train) / (len(self.classes) * counts)

    def loss(self, batch: LabelledBatch) -> Float[Tensor, ""]:
        """Cross-entropy, the mean over the batch's texts; of several labels that of each, summed."""
        return self._loss(self._logits(batch), batch.labels, self.recipe.label_smoothing)

    def _logits(self, batch: LabelledBatch) -> Float[Tensor, "texts classes"]:
        logits: Tensor = self.model(batch.tokens, batch.lengths, packed=batch.packed)
        return logits.float()

    def _loss(self, logits: Tensor, labels: Tensor, smoothing: float) -> Float[Tensor, ""]:
        weights = None if self._weights is None else self._weights.to(logits.device)
        if not self.recipe.files.several:
            return functional.cross_entropy(logits, labels, weight=weights, label_smoothing=smoothing)
        wanted = labels * (1.0 - smoothing) + smoothing / 2
        total = functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weights, reduction="sum")
        return total / len(labels)

    def validate(self) -> dict[str, float]:
        """Cross-entropy without smoothing, in nats a text, accuracy and macro F1 in percent."""
        device = device_of(self.model)
        total, found = 0.0, torch.zeros(len(self._numbers), len(self.classes))
        for items in self._validation.order(0):
            batch = self._validation.batch(items).to(device)
            logits = self._logits(batch)
            total += float(self._loss(logits, batch.labels, 0.0)) * batch.count
            found[items] = logits.cpu()
        several = self.recipe.files.several
        decided = metrics.decided(found.sigmoid() if several else found.softmax(-1), several=several)
        wanted = metrics.wanted(self._numbers, len(self.classes))
        return {
            "loss": total / len(self._numbers),
            "accuracy": metrics.accuracy(decided, wanted),
            "macro_f1": metrics.macro_f1(decided, wanted),
        }
