"""What the tasks that write a text for a text share: a trained model that writes, and its training."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention import Weights, watch
from regard.data.batches import Batch, Sides, SourceBatch, TokenBatches, length_batches
from regard.data.parallel import ParallelText
from regard.data.tokenizer import Tokenizers
from regard.decoding import Beam, Greedy, Hypothesis, Progress, Sampling, search
from regard.explain.look import Look, Side, of_weights, records
from regard.explain.pieces import Piece, read
from regard.models.device import device_of
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import END, START

_BATCH_TOKENS = 2048  # source tokens that are read at a time
# Who attends to whom. A decoder's query is named by the token that it emits, its keys by those that it had read.
_ATTENDS = {
    **dict.fromkeys(("*.cross", "copying", "*.encoder_attn", "*.EncDecAttention"), ("output", "source")),
    **dict.fromkeys(("encoder.*", "*.encoder.*"), ("source", "source")),
    **dict.fromkeys(("decoder.*", "*.decoder.*"), ("output", "so far")),
}


@dataclass(frozen=True, kw_only=True)
class Output:
    """One text that was written, and how likely the model finds it."""

    text: str
    hypothesis: Hypothesis

    def __str__(self) -> str:
        return self.text

    @property
    def ranked(self) -> str:
        """The text behind its score, to stand among others."""
        return f"{self.hypothesis.score:8.3f}  {self.text}"

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {"text": self.text, "score": self.hypothesis.score}


class Writer:
    """A trained model with its tokenizers; reads weights and plain text files, executes nothing, needs no engine."""

    reads = "texts"

    def __init__(self, model: Any, tokenizers: Tokenizers, recipe: Any) -> None:
        self.model, self.tokenizers, self.recipe = model.eval(), tokenizers, recipe

    def predict(
        self,
        texts: Sequence[str],
        options: Greedy | Beam | Sampling | None = None,
        *,
        progress: Callable[[int, str], None] | None = None,
    ) -> list[list[Output]]:
        """What is written for each text, best first, by `options` or as the recipe says.

        `progress` is told while it is written: the number of the text, and the likeliest output so far.

        Raises:
            ValueError: a text that the task does not take.
        """
        self.check(texts)
        options = self.recipe.decoding if options is None else options
        sources = self.tokenizers.source.encode(texts)
        outputs: list[list[Output]] = [[] for _ in texts]
        device = device_of(self.model)
        for batch in length_batches(sources, tokens=_BATCH_TOKENS):
            batch = batch.to(device)
            told = None if progress is None else self._told(batch.rows, progress)
            found = search(self.model, batch.source, batch.source_lengths, options, told)
            for row, hypotheses in zip(batch.rows, found, strict=True):
                outputs[row] = [
                    Output(text=self.tokenizers.target.decode(hypothesis.tokens), hypothesis=hypothesis)
                    for hypothesis in hypotheses
                ]
        return outputs

    def check(self, texts: Sequence[str]) -> None:
        """Raise ValueError at a text that the task does not take; as it is, it takes all."""

    def _told(self, rows: Sequence[int], progress: Callable[[int, str], None]) -> Progress:
        """What a search is given, so that `progress` hears of texts and not of tokens."""

        def told(sentences: list[int], tokens: list[list[int]]) -> None:
            for sentence, so_far in zip(sentences, tokens, strict=True):
                progress(rows[sentence], self.tokenizers.target.decode(so_far))

        return told

    def look(self, text: str) -> Look:
        """Write for `text`, and look at what every layer attended to while it was read and the output written.

        Raises:
            ValueError: a model without attention, or a text that the task does not take.
        """
        self.check([text])
        source = self.tokenizers.source.encode([text])[0]
        batch = next(iter(length_batches([source], tokens=len(source) + 1))).to(device_of(self.model))
        best = replace(self.recipe.decoding, n_best=1)
        hypothesis = search(self.model, batch.source, batch.source_lengths, best)[0][0]
        emitted = [*hypothesis.tokens, END] if hypothesis.finished else [*hypothesis.tokens]
        recurrent = isinstance(self.model, RecurrentSeq2Seq)  # it attends once a step, which makes small calls
        record = (Weights(),) if recurrent else records(max(len(source) + 1, len(emitted)))
        with torch.no_grad(), watch(self.model, *record) as seen:
            self._read(batch, emitted)
        if not seen:
            raise ValueError(f"a {self.recipe.model.architecture} model has no attention to look at; train another")
        pieces = {
            "source": (*self.tokenizers.source.spelled(text), "</s>"),
            "output": (*self.tokenizers.target.tokens(hypothesis.tokens), *(["</s>"] if hypothesis.finished else [])),
        }
        sides = [Side(name=name, pieces=read(found)) for name, found in pieces.items()]
        so_far = (Piece(text="START", starts=True, special=True), *sides[1].pieces[:-1])
        if recurrent:
            weights = seen.stitched("").weights[0]
            layers = (of_weights("the decoder", weights, queries="output", keys="source"),)
            return Look(title=text, sides=tuple(sides), layers=layers, score=hypothesis.score)
        sides.append(Side(name="so far", pieces=so_far))
        return Look.of(seen, sides, _ATTENDS, title=text, score=hypothesis.score)

    def _read(self, batch: SourceBatch, emitted: Sequence[int]) -> None:
        """Run the model once over a source and what was written for it."""
        read_so_far = torch.tensor([[START, *emitted[:-1]]], device=batch.source.device)
        self.model(batch.source, batch.source_lengths, read_so_far)


class Writing(ABC):
    """What the training engine needs of a model that writes: batches of pairs, and a validation by what it writes.

    A task adds its loss, and what its outputs are worth.
    """

    unit = "tokens"

    def __init__(
        self,
        recipe: Any,
        model: Any,
        tokenizers: Tokenizers,
        train: ParallelText,
        validation: ParallelText,
    ) -> None:
        self.recipe, self.model, self.tokenizers, self.metric = recipe, model, tokenizers, recipe.metric
        self.batches = self._batches(train, seed=recipe.training.seed, recut=self._recut(train))
        self._validation = self._batches(validation, seed=0)

    def _recut(self, pairs: ParallelText) -> Callable[[int], Sides] | None:
        """Both sides of an epoch, cut anew; nothing where the recipe cuts words one way."""
        cut, seed = self.recipe.sub_words, self.recipe.training.seed
        source = cut.recut(self.tokenizers.source, pairs.sources, seed)
        target = cut.recut(self.tokenizers.target, pairs.targets, seed)
        if source is None or target is None:
            return None
        return lambda epoch: (source.epoch(epoch), target.epoch(epoch))

    def _batches(self, pairs: ParallelText, *, seed: int, recut: Callable[[int], Sides] | None = None) -> TokenBatches:
        sources, targets = self.tokenizers.source.encode(pairs.sources), self.tokenizers.target.encode(pairs.targets)
        try:
            return TokenBatches(
                sources,
                targets,
                tokens=self.recipe.batch_tokens,
                seed=seed,
                packed=not self.recipe.start and self.recipe.model.packs(self.recipe.training),
                recut=recut,
            )
        except ValueError as error:
            raise ValueError(f"{pairs.source_name}: {error} (tokens is the recipe's batch_tokens)") from None

    def loss(self, batch: Batch) -> Float[Tensor, ""]:
        """What is minimised, the mean over the batch's target tokens."""
        return self.loss_of(batch, self.recipe.label_smoothing)

    @abstractmethod
    def loss_of(self, batch: Batch, smoothing: float) -> Float[Tensor, ""]:
        """The loss with a label smoothing of `smoothing`; with 0, what validation measures: nats a token."""

    @abstractmethod
    def measured(self, outputs: list[str]) -> dict[str, float]:
        """The metrics of what was written for the validation texts."""

    def validate_on(self, writer: Writer, sources: Sequence[str]) -> dict[str, float]:
        """The loss without smoothing, and the metrics of greedy outputs."""
        device = device_of(self.model)
        total, count = 0.0, 0
        for pairs in self._validation.order(0):
            batch = self._validation.batch(pairs).to(device)
            total += float(self.loss_of(batch, 0.0)) * batch.count
            count += batch.count
        limits = self.recipe.decoding
        greedy = Greedy(
            max_length=limits.max_length, max_ratio=limits.max_ratio, no_repeat_ngram=limits.no_repeat_ngram
        )
        return {
            "loss": total / count,
            **self.measured([found[0].text for found in writer.predict(sources, greedy)]),
        }
