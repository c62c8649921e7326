"""Translating with a trained model, and the training of one."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.batches import Batch
from regard.data.parallel import ParallelText, read_parallel
from regard.data.tokenizer import Tokenizers
from regard.decoding import Beam, Greedy, Sampling
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import PAD
from regard.models.transformer import Transformer
from regard.ops.cross_entropy import linear_cross_entropy
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import reopen
from regard.tasks.translation import metrics
from regard.tasks.translation.recipe import Recipe
from regard.tasks.writing import Writer, Writing
from regard.training import RunDirectory

METRICS: dict[str, Callable[[Sequence[str], Sequence[str]], float]] = {
    "bleu": metrics.bleu,
    "chrf": metrics.chrf,
    "exact": metrics.exact,
}


class Translator(Writer):
    """A trained model that writes a sentence in another language."""

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

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "Translator":
        """The translator of a run whose recipe has been read."""
        pretrained, tokenizers = reopen(run, recipe, "seq2seq")
        model = run.load_model(lambda: build(recipe, tokenizers) if pretrained is None else pretrained)
        return cls(model, tokenizers, recipe)


def build(recipe: Recipe, tokenizers: Tokenizers) -> Transformer | RecurrentSeq2Seq:
    """The recipe's model for these vocabularies, with new weights."""
    return recipe.model.build(len(tokenizers.source), len(tokenizers.target), joint=tokenizers.joint)


class Translation(Writing):
    """What the training engine needs of translation: a model, batches, a loss and a validation."""

    def __init__(
        self,
        recipe: Recipe,
        tokenizers: Tokenizers,
        train: ParallelText,
        validation: ParallelText,
        model: Any = None,
    ) -> None:
        torch.manual_seed(recipe.training.seed)
        model = build(recipe, tokenizers) if model is None else model
        super().__init__(recipe, model, tokenizers, train, validation)
        self.validation = validation

    def loss_of(self, batch: Batch, smoothing: float) -> Float[Tensor, ""]:
        """Label-smoothed cross-entropy, the mean over the batch's target tokens."""
        hidden = self.model(*batch.inputs)
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            batch.target_out.flatten(),
            label_smoothing=smoothing,
            ignore=PAD,
        )

    def measured(self, outputs: list[str]) -> dict[str, float]:
        return {self.metric: METRICS[self.metric](outputs, self.validation.targets)}

    def validate(self) -> dict[str, float]:
        """Cross-entropy without smoothing, in nats a token, and the metric of greedy translations."""
        return self.validate_on(Translator(self.model, self.tokenizers, self.recipe), self.validation.sources)
