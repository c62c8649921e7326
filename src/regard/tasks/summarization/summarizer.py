"""Summarising with a trained model, and the training of one."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.batches import Batch, SourceBatch
from regard.data.referenced import ReferencedText, read_referenced
from regard.data.tokenizer import Tokenizer, Tokenizers
from regard.decoding import Beam, Greedy, Sampling
from regard.models.pointer import PointerTransformer
from regard.models.tokens import PAD, START
from regard.ops.cross_entropy import linear_cross_entropy
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import reopen
from regard.tasks.summarization import metrics
from regard.tasks.summarization.recipe import Recipe
from regard.tasks.writing import Writer, Writing
from regard.training import RunDirectory


class Summarizer(Writer):
    """A trained model that writes a summary of a document."""

    def check(self, texts: Sequence[str]) -> None:
        """Raise ValueError at a document of more tokens than the recipe's `longest`."""
        names = ["the document"] if len(texts) == 1 else [f"document {n}" for n in range(1, len(texts) + 1)]
        require_short(self.tokenizers.source, texts, names, self.recipe)

    def _read(self, batch: SourceBatch, emitted: Sequence[int]) -> None:
        if not isinstance(self.model, PointerTransformer):
            super()._read(batch, emitted)
            return
        device = batch.source.device
        read_so_far, written = (torch.tensor([tokens], device=device) for tokens in ([START, *emitted[:-1]], emitted))
        self.model.write(batch.source, batch.source_lengths, read_so_far, target_out=written)

    def evaluate(
        self,
        *,
        data: str | None = None,
        split: str | None = None,
        options: Greedy | Beam | Sampling | None = None,
    ) -> Evaluation:
        """Every metric of the field on the documents `split` of the folder `data`, beside those of the lead baseline.

        What is not given is as in the recipe: its folder, its test documents, its search.
        """
        files = self.recipe.files
        documents = read_referenced(
            data or self.recipe.data, split or files.test, source=files.source, target=files.target
        )
        outputs = [found[0].text for found in self.predict(documents.sources, options)]
        scores = metrics.all_scores(outputs, documents.references, documents.sources, lead=self.recipe.lead)
        return Evaluation(scores=scores, outputs=[" ".join(output.split("\n")) for output in outputs])

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "Summarizer":
        """The summarizer of a run whose recipe has been read."""
        pretrained, tokenizers = reopen(run, recipe, "seq2seq")
        words = len(tokenizers.source)
        model = run.load_model(lambda: recipe.model.build(words) if pretrained is None else pretrained)
        return cls(model, tokenizers, recipe)


def require_short(tokenizer: Tokenizer, texts: Sequence[str], names: Sequence[str], recipe: Recipe) -> None:
    """Raise ValueError at a document that is longer than a recipe reads: nothing is cut off without a word."""
    for name, tokens in zip(names, tokenizer.encode(texts), strict=True):
        if len(tokens) + 1 > recipe.longest:
            raise ValueError(
                f"{name} has {len(tokens) + 1:,} tokens, END included, and at most {recipe.longest:,} are read: "
                f"cut it, or train with --longest {len(tokens) + 1}"
            )


class Summarization(Writing):
    """What the training engine needs of summarization: a model, batches, a loss and a validation."""

    def __init__(
        self,
        recipe: Recipe,
        tokenizers: Tokenizers,
        train: ReferencedText,
        validation: ReferencedText,
        model: Any = None,
    ) -> None:
        for documents in (train, validation):
            names = [f"{documents.name}: document {number}" for number in range(1, len(documents) + 1)]
            require_short(tokenizers.source, documents.sources, names, recipe)
        torch.manual_seed(recipe.training.seed)
        model = recipe.model.build(len(tokenizers.source)) if model is None else model
        super().__init__(recipe, model, tokenizers, train.pairs(), validation.pairs())
        self.validation = validation

    def loss_of(self, batch: Batch, smoothing: float) -> Float[Tensor, ""]:
        """Cross-entropy of written and copied words together; with coverage, what was attended to again.

        Smoothing is of the words that are written: to copy all tokens a little would be to attend to all.
        """
        target = batch.target_out
        if not isinstance(self.model, PointerTransformer):
            hidden = self.model(*batch.inputs)
            return linear_cross_entropy(
                hidden.flatten(0, 1), self.model.output_weight, target.flatten(), label_smoothing=smoothing, ignore=PAD
            )
        found = self.model.write(*batch.inputs, target_out=target)
        losses = -(1.0 - smoothing) * found.log_probability - smoothing * found.mean
        if self.model.training and self.recipe.coverage:
            losses = losses + self.recipe.coverage * found.coverage
        return losses[target != PAD].mean()

    def measured(self, outputs: list[str]) -> dict[str, float]:
        return metrics.rouge(outputs, self.validation.references)

    def validate(self) -> dict[str, float]:
        """Cross-entropy without smoothing, in nats a token, and ROUGE of greedy summaries."""
        return self.validate_on(Summarizer(self.model, self.tokenizers, self.recipe), self.validation.sources)
