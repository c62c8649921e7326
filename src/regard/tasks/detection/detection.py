"""What the training engine needs of detection: a model, batches, a loss, a validation and samples."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.boxed import BoxedPictures
from regard.data.scene import Scene, fitted
from regard.data.scene_batches import SceneBatch, SceneBatches
from regard.models.boxes import to_centred
from regard.models.detector import Detector, Found, Queries
from regard.tasks.detection import advice
from regard.tasks.detection.finding import find_things, truth
from regard.tasks.detection.losses import of_cells, of_queries
from regard.tasks.detection.metrics import Detected, Truth, average_precision
from regard.tasks.detection.pictures import sheet
from regard.tasks.detection.recipe import Recipe
from regard.tasks.detection.targets import Costs, Things, assigned, matched
from regard.tasks.detection.training_queries import denoising, parted, together

_SAMPLES = 6  # validation pictures on a sheet
_PATIENT = 3  # validations before it is said that a run does not learn


class Detection:
    """A model that learns where things are.

    Args:
        recipe: how.
        train: the pictures to train on.
        validation: the pictures to measure on.
        encoder: a pretrained one.
    """

    unit = "pictures"

    def __init__(self, recipe: Recipe, train: BoxedPictures, validation: BoxedPictures, encoder: Any = None) -> None:
        self.recipe, self.metric, self.classes = recipe, recipe.metric, train.classes
        torch.manual_seed(recipe.training.seed)
        self.model = recipe.model.build(len(self.classes), encoder)
        self._loss = DetectionLoss(self.model, recipe)
        height, width = recipe.size
        self.batches = SceneBatches(
            lambda item: fitted(train.scene(item), height, width),
            len(train),
            augmentation=recipe.augmentation,
            size=(height, width),
            batch=recipe.batch,
            seed=recipe.training.seed,
        )
        self._validation = validation
        self._samples: list[tuple[Scene, Detected]] = []
        self._validations, self._remark = 0, ""

    def loss(self, batch: SceneBatch) -> Float[Tensor, ""]:
        """What is minimised; see :class:`DetectionLoss`."""
        return self._loss(batch.pictures, things_of(batch))

    def validate(self) -> dict[str, float]:
        """COCO's average precision over all overlaps and at 0.5, in percent."""
        found: list[Detected] = []
        true: list[Truth] = []
        self._samples = []
        step = max(1, len(self._validation) // _SAMPLES)
        for place in range(len(self._validation)):
            scene = self._validation.scene(place)
            found.append(find_things(self.model, scene.picture, self.recipe))
            true.append(truth(scene))
            if place % step == 0 and len(self._samples) < _SAMPLES:
                self._samples.append((scene, found[-1]))
        precision = average_precision(found, true, len(self.classes))
        self._validations += 1
        early = precision.ap50 < advice.EARLY and self._validations >= _PATIENT
        self._remark = f"has not learned yet: {advice.of_run(found, true)}" if early else ""
        return {"ap": precision.ap, "ap50": precision.ap50, "ap75": precision.ap75}

    def remark(self) -> str:
        """Why the model may not learn, if it does not."""
        return self._remark

    def samples(self) -> bytes:
        """Pictures of the last validation with the boxes that are true, and those that were found, as PNG."""
        return sheet(self._samples, self.classes, self.recipe.least)


def things_of(batch: SceneBatch) -> Things:
    """The things of its pictures, their boxes as shares of the picture."""
    height, width = batch.pictures.shape[-2:]
    scale = torch.tensor((width, height, width, height), device=batch.pictures.device)
    return Things.of([to_centred(boxes / scale) for boxes in batch.boxes], batch.labels)


class DetectionLoss:
    """The whole loss of a step of training: of the cells, and of every layer for each kind of queries.

    Args:
        model: what is trained.
        recipe: how.
    """

    def __init__(self, model: Detector, recipe: Recipe) -> None:
        self.model, self.helps = model, recipe.helps
        self.costs, self.weights = Costs(), recipe.loss

    def __call__(self, pictures: Tensor, things: Things) -> Float[Tensor, ""]:
        """The loss of pictures with these things."""
        model, helps = self.model, self.helps
        maps, cells, vectors = model.read(pictures)
        own, more = _cut(model.best(cells, vectors, model.queries + helps.more), model.queries)
        noise = denoising(model, things, helps.denoising)
        sizes = [own.vectors.shape[1]]
        sizes += [more.vectors.shape[1]] if more else []
        sizes += [noise.real.shape[1]] if noise else []
        count = max(1, sum(things.counts))
        loss = torch.zeros((), device=pictures.device)
        if helps.cells:
            pairs, counts = assigned(cells, model.centres(maps, pictures), things)
            loss = loss + helps.cells * of_cells(cells, things, pairs, counts, self.weights)
        repeated = things.repeated(helps.repeats) if more else things
        for found in model.refine(together(own, more, noise), maps):
            parts = parted(found, sizes)
            loss = loss + self._matched(parts.pop(0), things, count)
            if more:
                loss = loss + self._matched(parts.pop(0), repeated, count * helps.repeats)
            if noise:
                loss = loss + of_queries(parts.pop(0), things, noise.pairs, self.weights, max(1, noise.things))
        return loss

    def _matched(self, found: Found, things: Things, count: int) -> Float[Tensor, ""]:
        return of_queries(found, things, matched(found, things, self.costs), self.weights, count)


def _cut(queries: Queries, count: int) -> tuple[Queries, Queries | None]:
    """The first queries, and the others, if there are any."""
    if queries.vectors.shape[1] <= count:
        return queries, None
    first = Queries(vectors=queries.vectors[:, :count], boxes=queries.boxes[:, :count])
    return first, Queries(vectors=queries.vectors[:, count:], boxes=queries.boxes[:, count:])
