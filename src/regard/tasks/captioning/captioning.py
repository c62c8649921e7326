"""What the training engine needs of captioning: a model, batches, a loss and a validation."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.augmentation import Augmentation
from regard.data.caption_batches import CaptionBatch, CaptionBatches
from regard.data.captioned import CaptionedPictures
from regard.data.scene import resized
from regard.data.tokenizer import Tokenizers
from regard.decoding import Greedy
from regard.models.captioner import ShowAttendTell
from regard.models.device import device_of
from regard.models.tokens import PAD
from regard.ops.cross_entropy import linear_cross_entropy
from regard.tasks.captioning import metrics
from regard.tasks.captioning.picture_captioner import PictureCaptioner
from regard.tasks.captioning.recipe import Recipe

_PLAIN = Augmentation(flip=0.0, smallest=1.0, largest=1.0, stretch=1.0, colour=0.0)


class Captioning:
    """A model that learns to say what pictures show.

    Args:
        recipe: how.
        tokenizers: of the captions.
        train: the pictures to train on.
        validation: the pictures to measure on.
        encoder: a pretrained one.
    """

    unit = "tokens"

    def __init__(
        self,
        recipe: Recipe,
        tokenizers: Tokenizers,
        train: CaptionedPictures,
        validation: CaptionedPictures,
        encoder: Any = None,
    ) -> None:
        self.recipe, self.metric, self.tokenizers = recipe, recipe.metric, tokenizers
        torch.manual_seed(recipe.training.seed)
        self.model = recipe.model.build(len(tokenizers.target), encoder)
        self.batches = self._batches(train, recipe.augmentation, recipe.training.seed)
        self._validation, self._plain = validation, self._batches(validation, _PLAIN, 0)

    def _batches(self, pictures: CaptionedPictures, augmentation: Augmentation, seed: int) -> CaptionBatches:
        height, width = self.recipe.size
        return CaptionBatches(
            lambda item: resized(pictures.scene(item), height, width),
            [self.tokenizers.target.encode(captions) for captions in pictures.captions],
            augmentation=augmentation,
            size=(height, width),
            batch=self.recipe.batch,
            seed=seed,
        )

    def loss(self, batch: CaptionBatch) -> Float[Tensor, ""]:
        """Label-smoothed cross-entropy, the mean over the tokens, and what places receive too much or too little of:

        `received * mean_i (1 - sum_t w_ti)^2`, the doubly stochastic regularisation of Xu et al. 2015.
        """
        if not self.recipe.received:
            return self._cross_entropy(batch, self.model(batch.pictures, batch.counts, batch.target_in))
        assert isinstance(self.model, ShowAttendTell)
        lengths = (batch.target_out != PAD).sum(-1)
        hidden, received = self.model.with_received(batch.pictures, batch.counts, batch.target_in, lengths)
        uneven = (1.0 - received).square().mean()
        return self._cross_entropy(batch, hidden) + self.recipe.received * uneven

    def _cross_entropy(self, batch: CaptionBatch, hidden: Tensor, *, plain: bool = False) -> Float[Tensor, ""]:
        return linear_cross_entropy(
            hidden.flatten(0, 1),
            self.model.output_weight,
            batch.target_out.flatten(),
            label_smoothing=0.0 if plain else self.recipe.label_smoothing,
            ignore=PAD,
        )

    def validate(self) -> dict[str, float]:
        """Cross-entropy without smoothing, in nats a token, and the metrics of greedy captions."""
        device = device_of(self.model)
        total, count = 0.0, 0
        make = self._plain.making(0)
        for items in self._plain.order(0):
            batch = make(items).to(device)
            hidden = self.model(batch.pictures, batch.counts, batch.target_in)
            total += float(self._cross_entropy(batch, hidden, plain=True)) * batch.count
            count += batch.count
        writer = PictureCaptioner(self.model, self.tokenizers, self.recipe)
        outputs = writer.caption(self._validation, Greedy(max_length=self.recipe.decoding.max_length))
        found = metrics.bleu(outputs, self._validation.captions)
        cider = metrics.cider(outputs, self._validation.captions)
        return {"loss": total / count, "bleu1": found[0], "bleu4": found[3], "cider": cider}
