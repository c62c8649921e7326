"""Finding things in pictures with a trained model."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from regard.attention import Weights, watch
from regard.data.boxed import BoxedPictures, read_boxed, survey_boxes
from regard.data.pictures import read_picture, to_png, to_tensor
from regard.data.scene import Scene, cropped, fitted
from regard.explain.look import Grid, Look, Side, of_weights
from regard.explain.pieces import Piece
from regard.models.detector import Detector, DetectorLayer
from regard.models.device import device_of
from regard.nn.box_attention import BoxAttention
from regard.tasks.detection.finding import find_things, truth
from regard.tasks.detection.metrics import Detected, average_precision
from regard.tasks.detection.pictures import drawn, sheet
from regard.tasks.detection.recipe import Recipe
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import reopen_backbone
from regard.training import RunDirectory
from regard.training.programs import Exported

_NAMED = 6  # things that a line names, at most
_ROWS = 8  # pictures of an evaluation's sheet
_LOOKED = 12  # things that a look shows, at most
_PICTURE = "picture"


@dataclass(frozen=True, kw_only=True)
class Output:
    """The things of a picture.

    Args:
        name: of the picture's file.
        picture: as it was read.
        found: those that are sure enough, the surest first.
        classes: the names of all classes.
    """

    name: str
    picture: UInt8[Tensor, "3 height width"]
    found: Detected
    classes: tuple[str, ...]

    def __str__(self) -> str:
        counts = torch.bincount(self.found.labels, minlength=len(self.classes)).tolist()
        named = [f"{count} {name}" for name, count in zip(self.classes, counts, strict=True) if count]
        return f"{self.name}   {', '.join(named[:_NAMED]) or 'nothing'}"

    def record(self) -> dict[str, object]:
        """The same for programs, boxes as COCO writes them: left, top, width and height in pixels."""
        return {"things": self.things()}

    def things(self) -> list[dict[str, Any]]:
        """The class of each thing, how sure, and its box."""
        rows = zip(self.found.boxes.tolist(), self.found.scores.tolist(), self.found.labels.tolist(), strict=True)
        return [
            {
                "label": self.classes[label],
                "score": round(score, 4),
                "bbox": [round(value, 2) for value in (left, top, right - left, bottom - top)],
            }
            for (left, top, right, bottom), score, label in rows
        ]

    def files(self) -> dict[str, bytes]:
        """The picture with its boxes, and the boxes as COCO's JSON; by the endings of names."""
        return {
            ".boxes.png": to_png(drawn(self.picture, self.found, self.classes)),
            ".coco.json": json.dumps(self._coco(), indent=1).encode(),
        }

    def _coco(self) -> dict[str, object]:
        """The things as a file of COCO's has them."""
        height, width = self.picture.shape[-2:]
        annotations = []
        for number, thing in enumerate(self.things(), 1):
            box = thing["bbox"]
            annotations.append(
                {
                    "id": number,
                    "image_id": 1,
                    "category_id": self.classes.index(thing["label"]) + 1,
                    "bbox": box,
                    "area": round(box[2] * box[3], 2),
                    "iscrowd": 0,
                    "score": thing["score"],
                }
            )
        return {
            "images": [{"id": 1, "file_name": self.name, "width": width, "height": height}],
            "annotations": annotations,
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.classes, 1)],
        }


class PictureDetector:
    """A trained model with its classes; reads weights and pictures, executes nothing."""

    reads = "pictures"
    draws = True  # its outputs have files

    def __init__(self, model: Detector | Exported, classes: Sequence[str], recipe: Recipe) -> None:
        self.model: Any = model.eval()
        self.classes, self.recipe = tuple(classes), recipe

    def predict(self, files: Sequence[str]) -> Iterator[list[Output]]:
        """The things of each picture, one after the other.

        Raises:
            ValueError: a picture that cannot be read, when its turn comes.
        """
        for path in files:
            picture = to_tensor(read_picture(path))
            found = sure_of(find_things(self.model, picture, self.recipe), self.recipe.least)
            yield [Output(name=Path(path).name, picture=picture, found=found, classes=self.classes)]

    def evaluate(self, *, data: str | None = None, split: str | None = None) -> Evaluation:
        """COCO's metrics on the pictures `split` of the folder `data`; as in the recipe, if not given."""
        pictures = find(self.recipe, split or self.recipe.files.test, data=data, names=self.classes)
        looked = survey_boxes(pictures, skip=self.recipe.files.broken == "skip")
        pictures = looked.pictures
        scenes = (pictures.scene(place) for place in range(len(pictures)))
        found, true = [], []
        for scene in scenes:
            found.append(find_things(self.model, scene.picture, self.recipe))
            true.append(truth(scene))
        precision = average_precision(found, true, len(self.classes))
        outputs = []
        for path, one, other in zip(pictures.pictures, found, true, strict=True):
            outputs.append(f"{path.name}\t{len(sure_of(one, self.recipe.least))} found, {len(other.labels)} true")
        step = max(1, len(found) // _ROWS)
        rows = [(pictures.scene(place), found[place]) for place in range(0, len(found), step)][:_ROWS]
        left = "".join(f"\nleft out: {problem}" for problem in looked.problems)
        return Evaluation(
            scores=precision.scores(len(found)),
            outputs=outputs,
            table=precision.table(self.classes) + left,
            pictures={"detection.png": sheet(rows, self.classes, self.recipe.least)},
        )

    def look(self, file: str) -> Look:
        """Find the things of a picture, and look at which of its places each attended to, layer by layer."""
        height, width = self.recipe.size
        small = cropped(fitted(Scene(picture=to_tensor(read_picture(file))), height, width), 0, 0, height, width)
        given = small.picture[None].to(device_of(self.model))
        with torch.no_grad(), watch(self.model, Weights(), layers=["layers.*.cross"]) as seen:
            maps, cells, vectors = self.model.read(given)
            queries = self.model.best(cells, vectors, self.model.queries)
            layers = self.model.refine(queries, maps)
        sure, label = layers[-1].logits[0].float().sigmoid().max(-1)
        chosen = sure.argsort(descending=True)[: max(1, min(_LOOKED, int((sure >= self.recipe.least).sum())))]
        stride = self.model.strides[0]
        rows, columns = -(-height // stride), -(-width // stride)
        places = tuple(
            Piece(text=f"row {row + 1}, column {column + 1}", starts=True)
            for row in range(rows)
            for column in range(columns)
        )
        things = tuple(
            Piece(text=f"{self.classes[int(label[place])]} {float(sure[place]):.2f}", starts=True) for place in chosen
        )
        grid = Grid(png=to_png(small.picture), rows=rows, columns=columns)
        sides = (Side(name="things", pieces=things), Side(name=_PICTURE, pieces=places, grid=grid))
        boxes = [queries.boxes, *(one.boxes for one in layers[:-1])]
        shown = []
        for number, (layer, box) in enumerate(zip(self.model.layers, boxes, strict=True)):
            assert isinstance(layer, DetectorLayer)
            weights = seen[f"layers.{number}.cross"].weights[:, :, 0].float().cpu()  # queries heads keys
            spread = _on_grid(weights[chosen.cpu()], layer.cross, box[:, chosen].cpu(), rows, columns)
            shown.append(of_weights(f"layer {number + 1}", spread, queries="things", keys=_PICTURE))
        return Look(title=Path(file).name, sides=sides, layers=tuple(shown), score=float(sure.max()))

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "PictureDetector":
        """The detector of a run whose recipe has been read."""
        classes = run.read_labels()
        model = run.load_model(lambda: recipe.model.build(len(classes), reopen_backbone(run, recipe.start)))
        return cls(model, classes, recipe)


def _on_grid(
    weights: Float[Tensor, "things heads keys"],
    attention: BoxAttention,
    boxes: Float[Tensor, "one things 4"],
    rows: int,
    columns: int,
) -> Float[Tensor, "heads things places"]:
    """The weights of points in boxes as weights of the cells of a grid over the picture."""
    where = attention.where(boxes)[0].clamp(0.0, 1.0 - 1e-6)
    cell = (where[..., 1] * rows).long() * columns + (where[..., 0] * columns).long()  # things points
    cell = cell.repeat(1, attention.levels).unsqueeze(1).expand_as(weights)
    spread = weights.new_zeros(*weights.shape[:2], rows * columns).scatter_add(-1, cell, weights)
    return spread.transpose(0, 1)


def sure_of(found: Detected, least: float) -> Detected:
    """Those of what was found that are at least so sure."""
    kept = found.scores >= least
    return Detected(boxes=found.boxes[kept], scores=found.scores[kept], labels=found.labels[kept])


def find(recipe: Recipe, split: str, *, data: str | None = None, names: Sequence[str] | None = None) -> BoxedPictures:
    """The pictures of a split, their classes those of the model, if it has some.

    Raises:
        ValueError: the data are of other classes.
    """
    files = recipe.files
    found = read_boxed(data or recipe.data, split, pictures=files.pictures, labels=files.labels, classes=files.classes)
    if names is None:
        return found
    unknown = [name for name in found.classes if name not in names]
    if unknown:
        raise ValueError(f"the {split} data have the class {unknown[0]!r}, and the model knows {', '.join(names)}")
    return replace(found, classes=tuple(names))
