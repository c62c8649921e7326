"""What the training engine needs of segmentation: a model, batches, a loss, a validation and samples."""

from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from regard.data.scene import IGNORE, Scene, shrunk
from regard.data.scene_batches import SceneBatch, SceneBatches
from regard.data.segmented import SegmentedPictures
from regard.tasks.segmentation import metrics
from regard.tasks.segmentation.pictures import sheet
from regard.tasks.segmentation.recipe import Recipe
from regard.tasks.segmentation.searching import probabilities

_SAMPLES = 6  # validation pictures on a sheet


class Segmentation:
    """A model that learns the class of every pixel.

    Args:
        recipe: how.
        train: the pictures to train on.
        counts: pixels of each class in them.
        validation: the pictures to measure on.
        encoder: a pretrained one.
    """

    unit = "pictures"

    def __init__(
        self,
        recipe: Recipe,
        train: SegmentedPictures,
        counts: Int[Tensor, " classes"],
        validation: SegmentedPictures,
        encoder: Any = None,
    ) -> None:
        self.recipe, self.metric, self.classes = recipe, recipe.metric, train.classes.names
        torch.manual_seed(recipe.training.seed)
        self.model = recipe.model.build(len(self.classes), encoder)
        self.batches = SceneBatches(
            lambda item: read_scene(train, item, recipe.longest),
            len(train),
            augmentation=recipe.augmentation,
            size=(recipe.crop[0], recipe.crop[1]),
            batch=recipe.batch,
            seed=recipe.training.seed,
        )
        self._validation = validation
        self._weights = class_weights(counts) if recipe.class_weights == "balanced" else None
        self._samples: list[tuple[Tensor, Tensor, Tensor]] = []

    def loss(self, batch: SceneBatch) -> Float[Tensor, ""]:
        """What is minimised: cross-entropy over pixels, 1 - Dice over classes, and cross-entropy at the coarse map."""
        assert batch.masks is not None
        recipe, size = self.recipe, batch.masks.shape[-2:]
        fine, coarse = self.model.with_coarse(batch.pictures)
        logits = functional.interpolate(fine.float(), size, mode="bilinear", align_corners=False)
        target = batch.masks.long()
        loss = (1.0 - recipe.dice) * cross_entropy(logits, target, self._weights, recipe.label_smoothing)
        if recipe.dice:
            loss = loss + recipe.dice * dice_loss(logits, batch.masks)
        if recipe.coarse:
            small = functional.interpolate(batch.masks[:, None], coarse.shape[-2:], mode="nearest-exact")[:, 0]
            loss = loss + recipe.coarse * cross_entropy(
                coarse.float(), small.long(), self._weights, recipe.label_smoothing
            )
        return loss

    def validate(self) -> dict[str, float]:
        """Cross-entropy in nats a pixel, mean IoU, and the accuracy of pixels in percent, at full size."""
        counts = torch.zeros(len(self.classes), len(self.classes), dtype=torch.long)
        total = 0.0
        self._samples = []
        step = max(1, len(self._validation) // _SAMPLES)
        for place in range(len(self._validation)):
            scene = read_scene(self._validation, place, self.recipe.longest)
            found = probabilities(self.model, scene.picture, self.recipe.prediction)
            assert scene.mask is not None
            mask, decided = scene.mask, found.argmax(0).byte()
            counts += metrics.confusion(decided, mask, len(self.classes))
            known = mask != IGNORE
            right = found.gather(0, mask.where(known, 0).long()[None])[0]
            total -= float(right[known].clamp_min(1e-9).log().sum())
            if place % step == 0 and len(self._samples) < _SAMPLES:
                self._samples.append((scene.picture, mask, decided))
        return {
            "loss": total / max(1, int(counts.sum())),
            "miou": metrics.mean_iou(counts),
            "accuracy": metrics.pixel_accuracy(counts),
        }

    def samples(self) -> bytes:
        """Pictures of the last validation, their masks, and what was found, as PNG."""
        return sheet(self._samples, self.classes)


def read_scene(found: SegmentedPictures, place: int, longest: int | None) -> Scene:
    """A picture with its mask, at most `longest` pixels on its longer side."""
    scene = found.scene(place)
    return scene if longest is None else shrunk(scene, longest)


def class_weights(counts: Int[Tensor, " classes"]) -> Float[Tensor, " classes"]:
    """What a pixel of each class counts: the root of the inverse of its frequency, 1 in the mean over pixels.

    Between no weights and the full inverse, under which rare classes flood their surroundings. A class that does not
    occur counts as if it had one pixel.
    """
    weights = counts.clamp_min(1).double().rsqrt()
    return (weights / (weights * counts).sum() * counts.sum()).float()


def cross_entropy(
    logits: Float[Tensor, "batch classes height width"],
    target: Int[Tensor, "batch height width"],
    weights: Float[Tensor, " classes"] | None,
    smoothing: float,
) -> Float[Tensor, ""]:
    """The mean over the pixels of a known class, each with its class's weight; 0 where there is none.

    What is learned under weights alone is how likely a class is, times its weight: rare ones would be said too often.
    The weight is therefore part of what is compared (logit adjustment: Menon et al. 2021), and the logits by themselves
    mean how likely a class is, while errors with rare ones still count more.
    """
    if weights is not None:
        weights = weights.to(logits.device)
        logits = logits + weights.log().view(1, -1, 1, 1)
    total = functional.cross_entropy(
        logits, target, weight=weights, ignore_index=IGNORE, label_smoothing=smoothing, reduction="sum"
    )
    return total / (target != IGNORE).sum().clamp_min(1)


def dice_loss(
    logits: Float[Tensor, "batch classes height width"], masks: UInt8[Tensor, "batch height width"]
) -> Float[Tensor, ""]:
    """`1 - 2 sum p y / (sum p + sum y)`, the mean over the classes of the batch (Milletari et al. 2016).

    Pixels of no known class take no part, and neither do classes that the batch does not have.
    """
    known = masks != IGNORE
    target = masks.where(known, 0).long()
    found = logits.softmax(1) * known.unsqueeze(1)
    of_true = found.gather(1, target.unsqueeze(1)).flatten()
    both = found.new_zeros(logits.shape[1]).index_add(0, target.flatten(), of_true)
    of_each = torch.bincount(target[known], minlength=logits.shape[1])
    dice = 2.0 * both / (found.sum((0, 2, 3)) + of_each).clamp_min(1e-9)
    there = of_each > 0
    return 1.0 - (dice * there).sum() / there.sum().clamp_min(1)
