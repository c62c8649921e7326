"""Segmenting pictures with a trained model."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from regard.attention import watch
from regard.data.pictures import read_picture, to_png, to_tensor
from regard.data.scene import Scene, resized, shrunk
from regard.data.segmented import SegmentedPictures, read_segmented, survey
from regard.explain.look import Grid, Look, Side, records
from regard.explain.pieces import Piece
from regard.models.device import device_of
from regard.models.segmenter import Segmenter
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import reopen_backbone
from regard.tasks.segmentation import metrics
from regard.tasks.segmentation.pictures import overlay, sheet
from regard.tasks.segmentation.recipe import Recipe
from regard.tasks.segmentation.searching import probabilities
from regard.training import RunDirectory
from regard.training.programs import Exported

_NAMED = 4  # classes that a line names, at most
_LEAST = 0.005  # of the pixels, to be named
_ROWS = 8  # pictures of an evaluation's sheet
_SIDE = 1024  # pixels of a picture that is looked at, at most


@dataclass(frozen=True, kw_only=True)
class Output:
    """The class of each pixel of a picture.

    Args:
        name: of the picture's file.
        picture: as it was read.
        mask: a number for each of its pixels.
        classes: their names.
    """

    name: str
    picture: UInt8[Tensor, "3 height width"]
    mask: UInt8[Tensor, "height width"]
    classes: tuple[str, ...]

    @property
    def shares(self) -> dict[str, float]:
        """The classes that occur, the largest first, and their share of the pixels."""
        counts = torch.bincount(self.mask.flatten(), minlength=len(self.classes)).double() / self.mask.numel()
        order = counts.argsort(descending=True, stable=True).tolist()
        return {self.classes[number]: float(counts[number]) for number in order if counts[number] > 0}

    def __str__(self) -> str:
        named = [(name, share) for name, share in self.shares.items() if share >= _LEAST][:_NAMED]
        return f"{self.name}   " + ", ".join(f"{name} {100 * share:.1f}%" for name, share in named)

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {"shares": {name: round(share, 6) for name, share in self.shares.items()}}

    def files(self) -> dict[str, bytes]:
        """The mask, a picture of numbers, and the picture under the colours of its classes; by the endings of names."""
        return {".mask.png": to_png(self.mask), ".overlay.png": to_png(overlay(self.picture, self.mask, self.classes))}


class PictureSegmenter:
    """A trained model with its classes; reads weights and pictures, executes nothing."""

    reads = "pictures"
    draws = True  # its outputs have files

    def __init__(self, model: Segmenter | Exported, classes: Sequence[str], recipe: Recipe) -> None:
        self.model: Any = model.eval()
        self.classes, self.recipe = tuple(classes), recipe

    def predict(self, files: Sequence[str]) -> Iterator[list[Output]]:
        """The mask of each picture, one after the other.

        Raises:
            ValueError: a picture that cannot be read, when its turn comes.
        """
        for path in files:
            picture = to_tensor(read_picture(path))
            yield [Output(name=Path(path).name, picture=picture, mask=self._mask(picture), classes=self.classes)]

    def evaluate(self, *, data: str | None = None, split: str | None = None) -> Evaluation:
        """Every metric of the field on the pictures `split` of the folder `data`; as in the recipe, if not given."""
        found = find(self.recipe, split or self.recipe.files.test, data=data, names=self.classes)
        found, _, problems = survey(found, skip=self.recipe.files.broken == "skip")
        counts = torch.zeros(len(self.classes), len(self.classes), dtype=torch.long)
        boundary = metrics.BoundaryF(len(self.classes))
        outputs, ious = [], []
        for place, path in enumerate(found.pictures):
            scene = found.scene(place)
            assert scene.mask is not None
            mask = self._mask(scene.picture)
            own = metrics.confusion(mask, scene.mask, len(self.classes))
            counts += own
            boundary.add(mask, scene.mask)
            ious.append(metrics.mean_iou(own))
            outputs.append(f"{path.name}\t{ious[-1]:.2f}")
        order = sorted(range(len(ious)), key=lambda place: (math.isnan(ious[place]), ious[place]))
        # From the worst to the best, evenly: nobody learns from the best alone.
        ranks = sorted({number * (len(order) - 1) // (_ROWS - 1) for number in range(_ROWS)})
        scenes = [found.scene(order[rank]) for rank in ranks]
        rows = [(one.picture, one.mask, self._mask(one.picture)) for one in scenes if one.mask is not None]
        left = "".join(f"\nleft out: {problem}" for problem in problems)
        return Evaluation(
            scores=metrics.scores(counts, boundary, len(found)),
            outputs=outputs,
            table=metrics.table(counts, boundary, self.classes) + left,
            pictures={"segmentation.png": sheet(rows, self.classes)},
        )

    def look(self, file: str) -> Look:
        """Segment a picture, and look at what its places and the classes attended to."""
        whole = Scene(picture=to_tensor(read_picture(file)))
        picture = shrunk(whole, min(_SIDE, self.recipe.longest or _SIDE)).picture
        height, width = picture.shape[-2:]
        png = to_png(picture)
        sides = {"classes": Side(name="classes", pieces=tuple(Piece(text=name, starts=True) for name in self.classes))}
        attends = {"layers.*.cross": ("classes", _at(self.memory_stride)), "layers.*.attention": ("classes", "classes")}
        strides = {self.memory_stride}
        for pattern, stride in self.model.encoder.global_layers.items():
            attends[f"encoder.{pattern}"] = (_at(stride), _at(stride))
            strides.add(stride)
        for stride in sorted(strides):
            rows, columns = -(-height // stride), -(-width // stride)
            pieces = tuple(
                Piece(text=f"row {row + 1}, column {column + 1}", starts=True)
                for row in range(rows)
                for column in range(columns)
            )
            sides[_at(stride)] = Side(name=_at(stride), pieces=pieces, grid=Grid(png=png, rows=rows, columns=columns))
        longest = max(len(side.pieces) for side in sides.values())
        with torch.no_grad(), watch(self.model, *records(longest), layers=list(attends)) as seen:
            self.model(picture[None].to(device_of(self.model)))
        return Look.of(seen, list(sides.values()), attends, title=Path(file).name)

    @property
    def memory_stride(self) -> int:
        """The stride of the map that classes attend to."""
        return int(self.model.encoder.strides[self.model.memory])

    def _mask(self, picture: UInt8[Tensor, "3 height width"]) -> UInt8[Tensor, "height width"]:
        """The class of each pixel, found at the size that the recipe says."""
        scene = Scene(picture=picture)
        small = scene if self.recipe.longest is None else shrunk(scene, self.recipe.longest)
        mask = probabilities(self.model, small.picture, self.recipe.prediction).argmax(0).byte()
        whole = resized(replace(small, mask=mask), *scene.size).mask
        assert whole is not None
        return whole

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "PictureSegmenter":
        """The segmenter of a run whose recipe has been read."""
        classes = run.read_labels()
        model = run.load_model(lambda: recipe.model.build(len(classes), reopen_backbone(run, recipe.start)))
        return cls(model, classes, recipe)


def _at(stride: int) -> str:
    """The name of a side: the places of a map."""
    return f"picture, every {stride} pixels"


def find(
    recipe: Recipe, split: str, *, data: str | None = None, names: Sequence[str] | None = None
) -> SegmentedPictures:
    """The pictures of a split.

    Args:
        recipe: what is called how.
        split: which.
        data: the folder, if not the recipe's.
        names: the classes that a model knows.

    Raises:
        ValueError: the data have other classes.
    """
    files = recipe.files
    found = read_segmented(
        data or recipe.data,
        split,
        pictures=files.pictures,
        masks=files.masks,
        classes=files.classes,
        ignore=files.ignore,
    )
    if names is None:
        return found
    own = found.classes.names or tuple(names)
    if own != tuple(names):
        raise ValueError(f"the {split} data have the classes {', '.join(own)}, and the model knows {', '.join(names)}")
    return replace(found, classes=replace(found.classes, names=own))
