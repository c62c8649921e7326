"""Pictures with a class for each pixel, found in the folders that people have."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from regard.data.coco import Coco, coco_file, coco_places
from regard.data.files import hint, listed, names, require_folder
from regard.data.lines import lines
from regard.data.masks import Colour, outlined, read_mask, run_lengths
from regard.data.pictures import ENDINGS, read_picture, to_tensor
from regard.data.scene import IGNORE, Scene
from regard.data.survey import read_all

BACKGROUND = "background"  # what COCO's pictures show where nothing is outlined
CLASS_FILES = ("classes.txt", "class_dict.csv")


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes by name, and the colours of masks in RGB.

    Args:
        names: of the classes 0, 1, ...; none: they are not known, and numbered.
        colours: the class of each colour.
    """

    names: tuple[str, ...] = ()
    colours: Mapping[Colour, int] | None = None

    @classmethod
    def of(cls, entries: Sequence[str], where: str) -> "Classes":
        """From lines `name`, or `name red green blue`; a name "ignore" is no class, and its colour counts nowhere.

        Raises:
            ValueError: a line of another form, or a name or colour twice.
        """
        found: list[str] = []
        colours: dict[Colour, int] = {}
        for entry in entries:
            words = entry.replace(",", " ").split()
            coloured = len(words) > 3 and all(word.isdecimal() for word in words[-3:])
            name = " ".join(words[:-3] if coloured else words)
            if not name or name in found:
                raise ValueError(
                    f"{where}: each class needs a name of its own, such as: road 128 64 128; got {entry!r}"
                )
            number = IGNORE if name == "ignore" else len(found)
            if coloured:
                red, green, blue = (int(word) for word in words[-3:])
                if max(red, green, blue) > 255 or (red, green, blue) in colours:
                    raise ValueError(f"{where}: each class needs a colour of its own, 0 to 255; got {entry!r}")
                colours[red, green, blue] = number
            if number != IGNORE:
                found.append(name)
        if colours and len({number for number in colours.values() if number != IGNORE}) != len(found):
            raise ValueError(f"{where}: give all classes a colour, or none")
        return cls(names=tuple(found), colours=colours or None)


@dataclass(frozen=True, kw_only=True)
class Outlines:
    """The things outlined in a picture (COCO), those to be drawn first in front."""

    things: tuple[Mapping[str, Any], ...]
    numbers: Mapping[int, int]  # the class of each category
    where: str

    def mask(self, height: int, width: int) -> UInt8[Tensor, "height width"]:
        """The class of each pixel; 0 where nothing is outlined, IGNORE where a crowd is."""
        mask = torch.zeros(height, width, dtype=torch.uint8)
        for thing in self.things:
            shape = thing["segmentation"]
            if isinstance(shape, list):
                inside = outlined(shape, height, width)
            else:
                tall, wide = shape["size"]
                if (tall, wide) != (height, width):
                    raise ValueError(
                        f"{self.where}: annotation {thing.get('id')} is {wide} x {tall}, and its picture "
                        f"{width} x {height}"
                    )
                try:
                    inside = run_lengths(shape["counts"], height, width)
                except ValueError as error:
                    raise ValueError(f"{self.where}: annotation {thing.get('id')}: {error}") from None
            mask[inside] = IGNORE if thing.get("iscrowd") else self.numbers[thing["category_id"]]
        return mask


@dataclass(frozen=True, kw_only=True)
class SegmentedPictures:
    """Pictures, and where the mask of each is.

    Args:
        classes: their names, and colours.
        pictures: files.
        masks: a file of each, or what is outlined in it.
        ignore: the number in masks, beside IGNORE, that counts nowhere.
    """

    classes: Classes
    pictures: tuple[Path, ...]
    masks: tuple[Path | Outlines, ...]
    ignore: int | None = None

    def __len__(self) -> int:
        return len(self.pictures)

    def scene(self, place: int) -> Scene:
        """A picture with its mask.

        Raises:
            ValueError: a file that cannot be read; a mask of another size, or with a number that is no class.
        """
        path, source = self.pictures[place], self.masks[place]
        picture = to_tensor(read_picture(path))
        size = tuple(picture.shape[-2:])
        if isinstance(source, Outlines):
            return Scene(picture=picture, mask=source.mask(*size))
        mask = read_mask(source, self.classes.colours)
        if tuple(mask.shape) != size:
            raise ValueError(
                f"{source} is {mask.shape[1]} x {mask.shape[0]} pixels, and its picture {path} {size[1]} x {size[0]}: "
                "a mask has a number for each pixel of its picture"
            )
        if self.ignore is not None:
            mask = mask.masked_fill(mask == self.ignore, IGNORE)
        if self.classes.names:
            wrong = mask[(mask >= len(self.classes.names)) & (mask != IGNORE)]
            if len(wrong):
                raise ValueError(
                    f"{source} has {len(wrong):,} pixels of the number {int(wrong[0])}, and the "
                    f"{len(self.classes.names)} classes have the numbers 0 to {len(self.classes.names) - 1}: name all "
                    "classes, or say which number counts nowhere: --files.ignore"
                )
        return Scene(picture=picture, mask=mask)


def survey(
    found: SegmentedPictures, *, skip: bool = False
) -> tuple[SegmentedPictures, Int[Tensor, " classes"], list[str]]:
    """Read everything once, before anything is trained.

    Args:
        found: the pictures and masks.
        skip: leave out what cannot be read, instead of raising.

    Returns:
        What can be read, its classes named (by their numbers, if they have no names); how many pixels each class has;
        and what is wrong with each picture left out.

    Raises:
        ValueError: something cannot be read, and is not to be left out; or nothing can.
    """
    good, problems = read_all(lambda place: _counted(found.scene(place)), len(found), skip=skip)
    counts = torch.stack(list(good.values())).sum(0)
    if not counts[:IGNORE].any():
        raise ValueError(
            f"no pixel of the {len(good)} masks counts: all of them are {IGNORE}, or what files.ignore says"
        )
    number = len(found.classes.names) or int(counts[:IGNORE].nonzero().max()) + 1
    classes = replace(found.classes, names=found.classes.names or tuple(f"class {one}" for one in range(number)))
    kept = replace(
        found,
        classes=classes,
        pictures=tuple(found.pictures[place] for place in good),
        masks=tuple(found.masks[place] for place in good),
    )
    return kept, counts[:number], problems


def _counted(scene: Scene) -> Int[Tensor, " numbers"]:
    """How many pixels of a scene have each number."""
    assert scene.mask is not None
    return torch.bincount(scene.mask.flatten(), minlength=IGNORE + 1)


def read_segmented(
    folder: str | Path,
    split: str,
    *,
    pictures: str = "images/{split}",
    masks: str = "masks/{split}",
    classes: Sequence[str] | None = None,
    ignore: int | None = None,
) -> SegmentedPictures:
    """Find the pictures of a split and their masks in what the folder holds.

    * COCO: `annotations/instances_train.json` (or `annotations/train.json`, `train.json`,
      `train/_annotations.coco.json`) with polygons or run lengths; pictures in the folder `pictures`, `train` or the
      data folder. What is not outlined is the class "background"; small things lie over large ones, and crowds count
      nowhere;
    * Pascal VOC: `ImageSets/Segmentation/train.txt`, `JPEGImages`, `SegmentationClass`;
    * two folders, `pictures` and `masks`, whose files have the same names without endings.

    Whether each picture has its mask, and can be read, is looked at by `survey`.

    Args:
        folder: where the files are.
        split: such as "train".
        pictures, masks: the two folders, in which {split} stands for the split.
        classes: lines `name` or `name red green blue`; not given, the lines of `classes.txt` or the rows of
            `class_dict.csv` in the folder, if there is one of them.
        ignore: the number in masks that counts nowhere, beside 255.

    Raises:
        ValueError: none of these is there, or what names the classes or the files cannot be read.
    """
    folder = Path(folder)
    require_folder(folder)
    given = Classes.of(classes, "files.classes") if classes else _classes_in(folder)
    path = coco_file(folder, split)
    if path is not None:
        return _of_coco(path, [folder / pictures.format(split=split), folder / split, path.parent, folder])
    listing = folder / "ImageSets" / "Segmentation" / f"{split}.txt"
    if listing.is_file():
        stems = [line.split()[0] for line in lines(listing) if line.strip()]
        return SegmentedPictures(
            classes=given,
            pictures=tuple(folder / "JPEGImages" / f"{stem}.jpg" for stem in stems),
            masks=tuple(folder / "SegmentationClass" / f"{stem}.png" for stem in stems),
            ignore=ignore,
        )
    two = folder / pictures.format(split=split), folder / masks.format(split=split)
    for each in two:
        if not each.is_dir():
            looked = [str(place.relative_to(folder)) for place in coco_places(folder, split)]
            raise ValueError(
                f"{folder} has no {split!r}: looked for {listed(looked)} "
                f"(COCO), {listing.relative_to(folder)} (VOC), and the folders {two[0].relative_to(folder)} and "
                f"{two[1].relative_to(folder)} (--files.pictures, --files.masks). The folder holds "
                f"{listed(names(folder)) or 'nothing'}{hint(split, names(folder))}"
            )
    return _of_folders(two[0], two[1], given, ignore)


def _classes_in(folder: Path) -> Classes:
    """The classes that a file in the data folder names."""
    text, table = (folder / name for name in CLASS_FILES)
    if text.is_file():
        return Classes.of([line for line in lines(text) if line.strip()], str(text))
    if table.is_file():
        rows = list(csv.reader(lines(table)))
        return Classes.of([" ".join(row) for row in rows[1:] if row], str(table))
    return Classes()


def _of_folders(pictures: Path, masks: Path, classes: Classes, ignore: int | None) -> SegmentedPictures:
    found, theirs = _by_stem(pictures), _by_stem(masks)
    if not found:
        raise ValueError(f"{pictures} holds no pictures ({', '.join(ENDINGS)})")
    # Of a pair of which one is missing, the other's name says what it would be called.
    stems = sorted(found | theirs)
    return SegmentedPictures(
        classes=classes,
        pictures=tuple(found.get(stem, pictures / f"{stem}.*") for stem in stems),
        masks=tuple(theirs.get(stem, masks / f"{stem}.*") for stem in stems),
        ignore=ignore,
    )


def _by_stem(folder: Path) -> dict[str, Path]:
    """The pictures of a folder by their names without endings.

    Raises:
        ValueError: two have the same.
    """
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.suffix.lower() in ENDINGS and not path.name.startswith("."):
            if path.stem in found:
                raise ValueError(
                    f"{folder} holds {found[path.stem].name} and {path.name}: which of them is {path.stem}?"
                )
            found[path.stem] = path
    return found


def _of_coco(path: Path, folders: Sequence[Path]) -> SegmentedPictures:
    coco = Coco.read(path)
    numbers = {number: place + 1 for number, place in coco.classes.items()}
    return SegmentedPictures(
        classes=Classes(names=(BACKGROUND, *coco.categories.values())),
        pictures=tuple(coco.file(number, folders) for number in coco.pictures),
        masks=tuple(
            Outlines(
                things=tuple(
                    sorted(
                        (thing for thing in things if thing.get("segmentation")),
                        key=lambda thing: -float(thing.get("area", 0.0)),
                    )
                ),
                numbers=numbers,
                where=f"{path}, picture {coco.pictures[number]}",
            )
            for number, things in coco.annotations.items()
        ),
    )
