"""Pictures with boxes around things, found in the folders that people have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

import torch
import yaml
from jaxtyping import Float, Int
from torch import Tensor

from regard.data.coco import Coco, coco_file, coco_places
from regard.data.files import hint, listed, names, require_folder
from regard.data.lines import lines
from regard.data.pictures import ENDINGS, read_picture, to_tensor
from regard.data.scene import Scene
from regard.data.survey import read_all

LEAST = 1.0  # pixels: a box that is thinner is none


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """What is around the things of a picture.

    Args:
        boxes: left, top, right and bottom of each, in pixels, or as shares of the picture.
        labels: the name of each.
        shares: whether boxes are shares.
        where: the file that says so.
    """

    boxes: tuple[tuple[float, float, float, float], ...]
    labels: tuple[str, ...]
    where: str
    shares: bool = False


@dataclass(frozen=True, kw_only=True)
class BoxedPictures:
    """Pictures, and the boxes of each.

    Args:
        classes: the names of things, in the order of their numbers.
        pictures: files.
        boxes: of each picture.
    """

    classes: tuple[str, ...]
    pictures: tuple[Path, ...]
    boxes: tuple[Boxes | str, ...]  # or what is wrong with what says them

    def __len__(self) -> int:
        return len(self.pictures)

    def scene(self, place: int) -> Scene:
        """A picture with its boxes, cut at its edges; those that are left with less than `LEAST` pixels are left out.

        Raises:
            ValueError: a file that cannot be read, a class that is not known, or boxes that are no numbers.
        """
        picture = to_tensor(read_picture(self.pictures[place]))
        boxes, labels = self._checked(place, picture)
        height, width = picture.shape[-2:]
        cut = torch.stack((boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)), -1).flatten(1)
        kept = ((cut[:, 2:] - cut[:, :2]) >= LEAST).all(-1)
        return Scene(picture=picture, boxes=cut[kept], labels=labels[kept])

    def _checked(self, place: int, picture: Tensor) -> tuple[Float[Tensor, "things 4"], Int[Tensor, " things"]]:
        """Boxes in pixels, and the number of the class of each."""
        given = self.boxes[place]
        if isinstance(given, str):
            raise ValueError(given)
        unknown = [label for label in given.labels if label not in self.classes]
        if unknown:
            raise ValueError(
                f"{given.where} has a box of {unknown[0]!r}, and the classes are {listed(self.classes)}"
                f"{hint(unknown[0], self.classes)}"
            )
        boxes = torch.tensor(given.boxes, dtype=torch.float32).view(-1, 4)
        if given.shares:
            height, width = picture.shape[-2:]
            boxes = boxes * boxes.new_tensor((width, height, width, height))
        return boxes, torch.tensor([self.classes.index(label) for label in given.labels], dtype=torch.long)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a data set holds.

    Args:
        pictures: those that can be read.
        things: how many of each class.
        sides: the shorter side of each box, as a share of its picture's longer side.
        empty: pictures without things.
        outside: boxes that are left out, since they enclose nothing of their picture.
        problems: what is wrong with each picture that is left out.
    """

    pictures: BoxedPictures
    things: Int[Tensor, " classes"]
    sides: Float[Tensor, " things"]
    empty: int
    outside: int
    problems: tuple[str, ...]


def survey_boxes(found: BoxedPictures, *, skip: bool = False) -> Survey:
    """Read everything once, before anything is trained.

    Args:
        found: the pictures and boxes.
        skip: leave out what cannot be read, instead of raising.

    Raises:
        ValueError: something cannot be read, and is not to be left out; or nothing can.
    """
    good, problems = read_all(lambda place: _looked(found, place), len(found), skip=skip)
    labels = torch.cat([looked.labels for looked in good.values()])
    kept = replace(
        found,
        pictures=tuple(found.pictures[place] for place in good),
        boxes=tuple(found.boxes[place] for place in good),
    )
    return Survey(
        pictures=kept,
        things=torch.bincount(labels, minlength=len(found.classes)),
        sides=torch.cat([looked.sides for looked in good.values()]),
        empty=sum(not len(looked.labels) for looked in good.values()),
        outside=sum(looked.outside for looked in good.values()),
        problems=tuple(problems),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Looked:
    """What is kept of a picture of a survey."""

    labels: Int[Tensor, " things"]
    sides: Float[Tensor, " things"]
    outside: int


def _looked(found: BoxedPictures, place: int) -> _Looked:
    scene, given = found.scene(place), found.boxes[place]
    assert scene.boxes is not None
    assert scene.labels is not None
    assert isinstance(given, Boxes)
    sides = (scene.boxes[:, 2:] - scene.boxes[:, :2]).amin(-1) / max(scene.size)
    return _Looked(labels=scene.labels, sides=sides, outside=len(given.boxes) - len(scene.boxes))


def read_boxed(
    folder: str | Path,
    split: str,
    *,
    pictures: str = "images/{split}",
    labels: str = "labels/{split}",
    classes: Sequence[str] | None = None,
) -> BoxedPictures:
    """Find the pictures of a split and their boxes in what the folder holds.

    * COCO: `annotations/instances_train.json` (or `annotations/train.json`, `train.json`,
      `train/_annotations.coco.json`); pictures in the folder `pictures`, `train`, beside the file or in the data
      folder; crowds are left out;
    * Pascal VOC: `ImageSets/Main/train.txt`, `Annotations/*.xml`, `JPEGImages`; numbers are taken for edges from 0 to
      the picture's size, as today's tools write them;
    * YOLO: `labels/train/*.txt`, a line `class column row width height` a thing, as shares of the picture, and pictures
      of the same names; classes by number, named in `classes.txt`, or under `names` in `data.yaml`.

    Args:
        folder: where the files are.
        split: such as "train".
        pictures, labels: the folders of pictures and of YOLO's texts, in which {split} stands for the split.
        classes: the names of the classes, in their order; not given, as the data name them.

    Raises:
        ValueError: none of these is there, or what names the classes or the files cannot be read.
    """
    folder = Path(folder)
    require_folder(folder)
    path = coco_file(folder, split)
    if path is not None:
        return _of_coco(path, [folder / pictures.format(split=split), folder / split, path.parent, folder], classes)
    listing = folder / "ImageSets" / "Main" / f"{split}.txt"
    if listing.is_file():
        return _of_voc(folder, listing, classes)
    two = folder / pictures.format(split=split), folder / labels.format(split=split)
    if all(each.is_dir() for each in two):
        return _of_yolo(folder, *two, classes)
    looked = [str(place.relative_to(folder)) for place in coco_places(folder, split)]
    raise ValueError(
        f"{folder} has no {split!r}: looked for {listed(looked)} (COCO), {listing.relative_to(folder)} (VOC), and the "
        f"folders {two[0].relative_to(folder)} and {two[1].relative_to(folder)} (YOLO; --files.pictures, "
        f"--files.labels). The folder holds {listed(names(folder)) or 'nothing'}{hint(split, names(folder))}"
    )


def _of_coco(path: Path, folders: Sequence[Path], classes: Sequence[str] | None) -> BoxedPictures:
    coco = Coco.read(path)
    boxes: list[Boxes | str] = []
    for number, things in coco.annotations.items():
        where = f"{path}, picture {coco.pictures[number]}"
        found, labels = [], []
        for thing in things:
            if thing.get("iscrowd"):
                continue
            try:
                left, top, width, height = (float(value) for value in thing["bbox"])
            except (KeyError, TypeError, ValueError):
                boxes.append(f"{where}: annotation {thing.get('id')} has no bbox of four numbers")
                break
            found.append((left, top, left + width, top + height))
            labels.append(coco.categories[thing["category_id"]])
        else:
            boxes.append(Boxes(boxes=tuple(found), labels=tuple(labels), where=where))
    return BoxedPictures(
        classes=tuple(classes or coco.categories.values()),
        pictures=tuple(coco.file(number, folders) for number in coco.pictures),
        boxes=tuple(boxes),
    )


def _of_voc(folder: Path, listing: Path, classes: Sequence[str] | None) -> BoxedPictures:
    stems = [line.split()[0] for line in lines(listing) if line.strip()]
    boxes = [_of_xml(folder / "Annotations" / f"{stem}.xml") for stem in stems]
    named = {label for one in boxes if isinstance(one, Boxes) for label in one.labels}
    return BoxedPictures(
        classes=tuple(classes or sorted(named)),
        pictures=tuple(folder / "JPEGImages" / f"{stem}.jpg" for stem in stems),
        boxes=tuple(boxes),
    )


def _of_xml(path: Path) -> Boxes | str:
    """The boxes of a file of Pascal VOC."""
    if not path.is_file():
        return f"there is no file {path}{hint(path.name, names(path.parent))}"
    try:
        things = ElementTree.parse(path).getroot().findall("object")
        found = []
        for thing in things:
            left, top, right, bottom = (
                float(thing.findtext(f"bndbox/{name}", "")) for name in ("xmin", "ymin", "xmax", "ymax")
            )
            found.append((left, top, right, bottom))
        labels = tuple(thing.findtext("name", "").strip() for thing in things)
    except (ElementTree.ParseError, ValueError) as error:
        return f"{path} is no annotation of Pascal VOC: {error}"
    return Boxes(boxes=tuple(found), labels=labels, where=str(path))


def _of_yolo(folder: Path, pictures: Path, labels: Path, classes: Sequence[str] | None) -> BoxedPictures:
    found = sorted(path for path in pictures.iterdir() if path.suffix.lower() in ENDINGS)
    if not found:
        raise ValueError(f"{pictures} holds no pictures ({', '.join(ENDINGS)})")
    given = list(classes) if classes else _yolo_names(folder)
    boxes = [_of_text(labels / f"{path.stem}.txt", given) for path in found]
    if not given:
        most = max((int(label) for one in boxes if isinstance(one, Boxes) for label in one.labels), default=-1)
        given = [str(number) for number in range(most + 1)]
    return BoxedPictures(classes=tuple(given), pictures=tuple(found), boxes=tuple(boxes))


def _yolo_names(folder: Path) -> list[str]:
    text, described = folder / "classes.txt", folder / "data.yaml"
    if text.is_file():
        return [line.strip() for line in lines(text) if line.strip()]
    if not described.is_file():
        return []
    try:
        given = yaml.safe_load(described.read_text(encoding="utf-8"))["names"]
    except (yaml.YAMLError, KeyError, TypeError) as error:
        raise ValueError(f"{described} does not give the classes under `names`: {error}") from None
    return [str(name) for name in (given.values() if isinstance(given, Mapping) else given)]


def _of_text(path: Path, classes: Sequence[str]) -> Boxes | str:
    """The boxes of a text of YOLO; a picture without one has no things."""
    if not path.is_file() or not path.stat().st_size:
        return Boxes(boxes=(), labels=(), where=str(path), shares=True)
    found, labels = [], []
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        try:
            label, *values = line.split()[:5]
            column, row, width, height = numbers = [float(value) for value in values]
            kind = int(label)
        except ValueError:
            return f"{path}, line {number} must be a class and four numbers, such as: 0 0.5 0.5 0.1 0.2. It is: {line}"
        if max(numbers) > 1.5:
            return f"{path}, line {number} has pixels, and YOLO's numbers are shares of the picture, 0 to 1: {line}"
        if classes and kind >= len(classes):
            return f"{path}, line {number} is of class {kind}, and the classes are 0 to {len(classes) - 1}"
        found.append((column - width / 2, row - height / 2, column + width / 2, row + height / 2))
        labels.append(classes[kind] if classes else str(kind))
    return Boxes(boxes=tuple(found), labels=tuple(labels), where=str(path), shares=True)
