"""Translating with a trained model, and the training of one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention import Weights, watch
from regard.data.batches import Sides, TokenBatches, length_batches
from regard.data.parallel import ParallelText, read_parallel
from regard.data.tokenizer import Tokenizers
from regard.decoding import Beam, Greedy, Hypothesis, Sampling, search
from regard.explain.look import Look, Side, of_weights, records
from regard.explain.pieces import Piece, read
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Transformer
from regard.ops.cross_entropy import linear_cross_entropy
from regard.tasks.evaluation import Evaluation
from regard.tasks.translation import metrics
from regard.tasks.translation.recipe import Recipe
from regard.training import RunDirectory

METRICS: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "bleu": metrics.bleu,
    "chrf": metrics.chrf,
    "exact": metrics.exact,
}
_BATCH_TOKENS = 2048  # source tokens that are translated at a time
# Who attends to whom. A decoder's query is named by the token that it emits, its keys by those that it had read.
_ATTENDS = {"encoder.*": ("source", "source"), "*.cross": ("output", "source"), "decoder.*": ("output", "so far")}


@dataclass(frozen=True, kw_only=True)
class Output:
    """One translation: its text, and how likely the model finds it."""

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


class Translator:
    """A trained model with its tokenizers; reads weights and plain text files, executes nothing, needs no engine."""

    def __init__(self, model: Transformer | RecurrentSeq2Seq, tokenizers: Tokenizers, recipe: Recipe) -> None:
        self.model, self.tokenizers, self.recipe = model.eval(), tokenizers, recipe

    def predict(self, texts: Sequence[str], options: Greedy | Beam | Sampling | None = None) -> list[list[Output]]:
        """The translations of each text, best first, by `options` or as the recipe says."""
        options = self.recipe.decoding if options is None else options
        sources = self.tokenizers.source.encode(texts)
        outputs: list[list[Output]] = [[] for _ in texts]
        device = self.model.output_weight.device
        for batch in length_batches(sources, tokens=_BATCH_TOKENS):
            batch = batch.to(device)
            found = search(self.model, batch.source, batch.source_lengths, options)
            for row, hypotheses in zip(batch.rows, found, strict=True):
                outputs[row] = [
                    Output(text=self.tokenizers.target.decode(hypothesis.tokens), hypothesis=hypothesis)
                    for hypothesis in hypotheses
                ]
        return outputs

    def evaluate(
        self,
        *,
        data: str | None = None,
        split: str | None = None,
        options: Greedy | Beam | Sampling | None = None,
    ) -> Evaluation:
        """Every metric of the field on the pairs `split` of the folder `data`, and the translations they come from.

        What is not given is as in the recipe: its folder, its test pairs, its search.
        """
        files = self.recipe.files
        pairs = read_parallel(data or self.recipe.data, split or files.test, source=files.source, target=files.target)
        outputs = [found[0].text for found in self.predict(pairs.sources, options)]
        return Evaluation(scores=metrics.all_scores(outputs, pairs.targets, language=files.target), outputs=outputs)

    def look(self, text: str) -> Look:
        """Translate `text`, and look at what every layer attended to while it was read and its translation written.

        Raises:
            ValueError: a model without attention.
        """
        source = self.tokenizers.source.encode([text])[0]
        device = self.model.output_weight.device
        batch = next(iter(length_batches([source], tokens=len(source) + 1))).to(device)
        hypothesis = search(self.model, batch.source, batch.source_lengths, replace(self.recipe.decoding, n_best=1))[0][
            0
        ]
        emitted = [*hypothesis.tokens, END] if hypothesis.finished else [*hypothesis.tokens]
        read_so_far = torch.tensor([[START, *emitted[:-1]]], device=device)
        recurrent = isinstance(self.model, RecurrentSeq2Seq)  # it attends once a step, which makes small calls
        record = (Weights(),) if recurrent else records(max(len(source) + 1, len(emitted)))
        with torch.no_grad(), watch(self.model, *record) as seen:
            self.model(batch.source, batch.source_lengths, read_so_far)
        if not seen:
            raise ValueError(f"a {self.recipe.model.architecture} model has no attention to look at; train another")
        pieces = {
            "source": (*self.tokenizers.source.tokens(source), "</s>"),
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

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "Translator":
        """The translator of a run whose recipe has been read."""
        tokenizers = Tokenizers.load(run.tokenizer_path)
        model = build(recipe, tokenizers)
        run.load_weights(model)
        return cls(model, tokenizers, recipe)


def build(recipe: Recipe, tokenizers: Tokenizers) -> Transformer | RecurrentSeq2Seq:
    """The recipe's model for these vocabularies, with new weights."""
    return recipe.model.build(len(tokenizers.source), len(tokenizers.target), joint=tokenizers.joint)


class Translation:
    """What the training engine needs of translation: a model, batches, a loss and a validation."""

    def __init__(self, recipe: Recipe, tokenizers: Tokenizers, train: ParallelText, validation: ParallelText) -> None:
        self.recipe, self.tokenizers, self.validation = recipe, tokenizers, validation
        self.metric, self.unit = recipe.metric, "tokens"
        torch.manual_seed(recipe.training.seed)
        self.model = build(recipe, tokenizers)
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
                packed=self.recipe.model.packs(self.recipe.training),
                recut=recut,
            )
        except ValueError as error:
            raise ValueError(f"{pairs.source_name}: {error} (tokens is the recipe's batch_tokens)") from None

    def loss(self, batch) -> Float[Tensor, ""]:
        """Label-smoothed cross-entropy, the mean over the batch's target tokens."""
        return self._loss(batch, self.recipe.label_smoothing)

    def _loss(self, batch, smoothing: float) -> Float[Tensor, ""]:
        hidden = self.model(*batch.inputs)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            batch.target_out.flatten(),
            label_smoothing=smoothing,
            ignore=PAD,
        )

    def validate(self) -> dict[str, float]:
        """Cross-entropy without smoothing, in nats a token, and the metric of greedy translations."""
        device = self.model.output_weight.device
        total, count = 0.0, 0
        for pairs in self._validation.order(0):
            batch = self._validation.batch(pairs).to(device)
            total += float(self._loss(batch, 0.0)) * batch.count
            count += batch.count
        translator = Translator(self.model, self.tokenizers, self.recipe)
        greedy = Greedy(max_length=self.recipe.decoding.max_length, max_ratio=self.recipe.decoding.max_ratio)
        outputs = [found[0].text for found in translator.predict(self.validation.sources, greedy)]
        return {"loss": total / count, self.metric: METRICS[self.metric](outputs, self.validation.targets)}
