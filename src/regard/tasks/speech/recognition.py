"""What the training engine needs of speech recognition: a model, batches, a loss and a validation."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.recorded import Recorded
from regard.data.sound_augmentation import SoundAugmentation
from regard.data.speech_batches import SpeechBatch, SpeechBatches
from regard.data.tokenizer import Tokenizers
from regard.decoding.ctc import ctc_greedy
from regard.models.device import device_of
from regard.models.recognizer import ctc_loss, flat_start_loss
from regard.models.tokens import PAD
from regard.nn.conformer import quarter
from regard.ops.cross_entropy import linear_cross_entropy
from regard.tasks.speech import metrics
from regard.tasks.speech.recipe import Recipe
from regard.tasks.speech.spoken import spoken

_MEASURED = 500  # recordings from which the bands' means and spreads are taken


class Recognition:
    """A model that learns to write what it hears.

    Args:
        recipe: how.
        tokenizers: of the texts.
        train, seconds: the recordings to train on, and how long each is.
        validation, validation_seconds: those to measure on.
    """

    unit = "seconds of sound"

    def __init__(
        self,
        recipe: Recipe,
        tokenizers: Tokenizers,
        train: Recorded,
        seconds: Sequence[float],
        validation: Recorded,
        validation_seconds: Sequence[float],
    ) -> None:
        self.recipe, self.metric, self.tokenizers = recipe, recipe.metric, tokenizers
        torch.manual_seed(recipe.training.seed)
        self.model = recipe.model.build(len(tokenizers.target), recipe.bands)
        self.batches = self._batches(train, seconds, recipe.augmentation, recipe.training.seed)
        self._plain, self._references = self._batches(validation, validation_seconds, None, 0), validation.texts()
        some = range(0, len(train), max(1, len(train) // _MEASURED))
        self.model.encoder.measure(torch.cat([recipe.front(self.batches.sound(place)) for place in some]))

    def _batches(
        self, recorded: Recorded, seconds: Sequence[float], augmentation: SoundAugmentation | None, seed: int
    ) -> SpeechBatches:
        return SpeechBatches(
            lambda place: recorded.sound(place, self.recipe.rate),
            seconds,
            spoken(self.tokenizers.target, recorded.texts()),
            front=self.recipe.front,
            augmentation=augmentation,
            batch=self.recipe.batch,
            seed=seed,
        )

    def loss(self, batch: SpeechBatch) -> Float[Tensor, ""]:
        """`ctc L_ctc + (1 - ctc) L_attention`, each the mean over the tokens; the second label-smoothed.

        In the first epochs, if there is a flat start, CTC's is the loss of that.
        """
        of_ctc, of_attention, labels = self._losses(batch, self.recipe.label_smoothing)
        if self.batches.epoch < self.recipe.flat_start:
            of_ctc = flat_start_loss(labels, quarter(batch.frames), batch.target_in[:, 1:], batch.lengths)
        if of_attention is None:
            return of_ctc
        return self.recipe.ctc * of_ctc + (1.0 - self.recipe.ctc) * of_attention

    def _losses(
        self, batch: SpeechBatch, smoothing: float
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""] | None, Float[Tensor, "batch length vocabulary"]]:
        """CTC's loss and the decoder's, and the labels."""
        labels, hidden = self.model.both(batch.features, batch.frames, batch.target_in)
        of_ctc = ctc_loss(labels, quarter(batch.frames), batch.target_in[:, 1:], batch.lengths)
        if hidden is None:
            return of_ctc, None, labels
        of_attention = linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            batch.target_out.flatten(),
            label_smoothing=smoothing,
            ignore=PAD,
        )
        return of_ctc, of_attention, labels

    def validate(self) -> dict[str, float]:
        """Both losses without smoothing, in nats a token, and the error rates of the likeliest labels, in percent."""
        device = device_of(self.model)
        outputs = [""] * len(self._references)
        totals, count = [0.0, 0.0], 0
        make = self._plain.making(0)
        for items in self._plain.order(0):
            batch = make(items).to(device)
            of_ctc, of_attention, labels = self._losses(batch, 0.0)
            tokens = int(batch.lengths.sum())
            totals[0] += float(of_ctc) * tokens
            totals[1] += float(of_ctc if of_attention is None else of_attention) * tokens
            count += tokens
            for item, found in zip(items, ctc_greedy(labels, quarter(batch.frames)), strict=True):
                outputs[item] = self.tokenizers.target.decode(found)
        wrong = metrics.word_errors(outputs, self._references)
        return {
            "loss": totals[1] / count,
            "ctc": totals[0] / count,
            "accuracy": 100.0 - wrong,
            "wer": wrong,
            "cer": metrics.character_errors(outputs, self._references),
        }
