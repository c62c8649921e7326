"""COCO's JSON of annotated pictures, checked: which pictures, which categories, what is annotated in each."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.data.files import listed

PLACES = (
    "annotations/instances_{split}.json",
    "annotations/{split}.json",
    "{split}.json",
    "{split}/_annotations.coco.json",
)
Annotation = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Coco:
    """What a file says.

    Args:
        path: of the file.
        pictures: the file name of each picture, by its number, in ascending order.
        categories: the name of each category, by its number, in ascending order.
        annotations: those of each picture, by its number.
    """

    path: Path
    pictures: Mapping[int, str]
    categories: Mapping[int, str]
    annotations: Mapping[int, Sequence[Annotation]]

    @classmethod
    def read(cls, path: Path) -> "Coco":
        """Read and check a file.

        Raises:
            ValueError: it is no such file, a number is given twice, or an annotation is of a picture or a category
                that it does not name.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            pictures = [(image["id"], image["file_name"]) for image in content["images"]]
            categories = [(category["id"], category["name"]) for category in content["categories"]]
            annotations = [(thing["image_id"], thing["category_id"], thing) for thing in content["annotations"]]
        except (ValueError, KeyError, TypeError) as error:
            reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
            raise ValueError(f"{path} is no COCO file of annotations: {reason}") from None
        things = [(thing["id"], "") for *_, thing in annotations if "id" in thing]
        for what, numbered in (("picture", pictures), ("category", categories), ("annotation", things)):
            twice = [number for number, count in Counter(number for number, _ in numbered).items() if count > 1]
            if twice:
                raise ValueError(f"{path} gives the number {listed(twice, 4)} to more than one {what}")
        of_each: dict[int, list[Annotation]] = {number: [] for number, _ in sorted(pictures)}
        named = {number for number, _ in categories}
        for picture, category, thing in annotations:
            for what, number, known in (("picture", picture, of_each), ("category", category, named)):
                if number not in known:
                    raise ValueError(f"{path} has annotations of the {what} {number}, which it does not name")
            of_each[picture].append(thing)
        return cls(path=path, pictures=dict(sorted(pictures)), categories=dict(sorted(categories)), annotations=of_each)

    @property
    def classes(self) -> dict[int, int]:
        """The place of each category among them, by its number."""
        return {number: place for place, number in enumerate(self.categories)}

    def file(self, number: int, folders: Sequence[Path]) -> Path:
        """Where a picture is; if nowhere, where it was looked for first."""
        name = self.pictures[number]
        return next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name)


def coco_file(folder: Path, split: str) -> Path | None:
    """The file of a split in a data folder, if it has one."""
    return next((path for path in coco_places(folder, split) if path.is_file()), None)


def coco_places(folder: Path, split: str) -> list[Path]:
    """Where the file of a split is looked for."""
    return [folder / place.format(split=split) for place in PLACES]
