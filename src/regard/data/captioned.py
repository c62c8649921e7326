"""Pictures with what is said of them, found in the folders that people have."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regard.data.files import hint, listed, names, require_folder
from regard.data.lines import lines
from regard.data.pictures import read_picture, to_tensor
from regard.data.records import find_records, read_records
from regard.data.scene import Scene
from regard.data.survey import read_all

COCO_PLACES = ("annotations/captions_{split}.json", "captions_{split}.json", "{split}.json")
_VALIDATION = ("val", "validation", "dev")  # names that stand for one another, where the data have fixed ones


@dataclass(frozen=True, kw_only=True)
class CaptionedPictures:
    """Pictures, and the captions of each: at least one.

    Args:
        pictures: files.
        captions: of each picture.
        where: what says so, of all of them.
        odd: what was left out of the data, or may be wrong with them, for people.
    """

    pictures: tuple[Path, ...]
    captions: tuple[tuple[str, ...], ...]
    where: str
    odd: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pictures)

    def scene(self, place: int) -> Scene:
        """A picture.

        Raises:
            ValueError: it cannot be read.
        """
        return Scene(picture=to_tensor(read_picture(self.pictures[place])))

    def texts(self) -> list[str]:
        """All captions."""
        return [caption for of_one in self.captions for caption in of_one]


def survey_captioned(found: CaptionedPictures, *, skip: bool = False) -> tuple[CaptionedPictures, tuple[str, ...]]:
    """Read every picture once, before anything is trained.

    Args:
        found: the pictures and captions.
        skip: leave out what cannot be read, instead of raising.

    Returns:
        What can be read, and what is wrong with each picture left out.

    Raises:
        ValueError: something cannot be read, and is not to be left out; or nothing can.
    """
    good, problems = read_all(lambda place: found.scene(place).size, len(found), skip=skip)
    kept = replace(
        found,
        pictures=tuple(found.pictures[place] for place in good),
        captions=tuple(found.captions[place] for place in good),
    )
    return kept, tuple(problems)


def read_captioned(
    folder: str | Path, split: str, *, pictures: str = "images", picture: str = "image", caption: str = "caption"
) -> CaptionedPictures:
    """Find the captioned pictures of a split in what the folder holds.

    * COCO: `annotations/captions_train.json` (or `captions_train.json`, `train.json`);
    * Karpathy's splits: a `dataset*.json` whose pictures say which split they are of ("restval" counts as "train");
    * Flickr: one file `*token.txt` of lines `name.jpg#number`, a tab and a caption, with the names of each split's
      pictures in `train.txt`, or in a file of a name such as `Flickr_8k.trainImages.txt`;
    * records: `train.csv`, `train.tsv` or `train.jsonl` with the columns `image` and `caption`, a caption a row, or a
      list of captions in JSON.

    A picture's captions may stand in several rows. Captions without words, and pictures without captions, are left out
    and counted; a picture of a split's list that has none is among them.

    Args:
        folder: where the files are.
        split: such as "train".
        pictures: the folder of the pictures in it; {split} stands for the split.
        picture, caption: the columns or keys of records.

    Raises:
        ValueError: none of these is there, or a file cannot be read in full.
    """
    folder = Path(folder)
    require_folder(folder)
    where = folder / pictures.format(split=split)
    folders = [where, where / split, folder]
    coco = next((path for place in COCO_PLACES if (path := folder / place.format(split=split)).is_file()), None)
    if coco is not None:
        return _collected(_of_coco(coco), folders, str(coco))
    karpathy = next(iter(sorted(folder.glob("dataset*.json"))), None)
    if karpathy is not None:
        return _collected(_of_karpathy(karpathy, split), folders, str(karpathy))
    records = find_records(folder, split)
    if records:
        return _collected(_of_records(records[0], picture, caption), folders, str(records[0]))
    tokens = sorted(folder.glob("*token.txt"))
    if tokens:
        listing = _listing(folder, split)
        return _collected(_of_flickr(tokens[0], listing), folders, f"{tokens[0]} and {listing.name}")
    looked = [place.format(split=split) for place in COCO_PLACES]
    raise ValueError(
        f"{folder} has no {split!r}: looked for {listed(looked)} (COCO), dataset*.json (Karpathy), {split}.csv, "
        f"{split}.tsv and {split}.jsonl, and *token.txt (Flickr). The folder holds "
        f"{listed(names(folder)) or 'nothing'}{hint(split, names(folder))}"
    )


Said = Iterable[tuple[str, Sequence[str]]]  # the name of a picture, and captions of it; a name may come several times


def _collected(said: Said, folders: Sequence[Path], where: str) -> CaptionedPictures:
    """Each picture once, with all that was said of it, in the order in which they come."""
    captions: dict[str, list[str]] = {}
    empty = 0
    for name, given in said:
        kept = [" ".join(caption.split()) for caption in given]
        empty += sum(not caption for caption in kept)
        captions.setdefault(name, []).extend(caption for caption in kept if caption)
    silent = [name for name, given in captions.items() if not given]
    spoken = {name: tuple(given) for name, given in captions.items() if given}
    if not spoken:
        raise ValueError(f"{where} has no captions: there is nothing to learn")
    odd = []
    if silent:
        odd.append(f"{len(silent)} pictures have no caption, and are left out: {listed(silent, 3)}")
    if empty:
        odd.append(f"{empty} captions have no words, and are left out")
    files = tuple(
        next((folder / name for folder in folders if (folder / name).is_file()), folders[0] / name) for name in spoken
    )
    return CaptionedPictures(pictures=files, captions=tuple(spoken.values()), where=where, odd=tuple(odd))


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None


def _of_coco(path: Path) -> Said:
    content = _json(path)
    try:
        files = {image["id"]: str(image["file_name"]) for image in content["images"]}
        if len(files) < len(content["images"]):
            raise ValueError(f"{path} gives one number to more than one picture")
        said: list[tuple[str, Sequence[str]]] = [(name, ()) for name in files.values()]
        said += [(files[one["image_id"]], (str(one["caption"]),)) for one in content["annotations"]]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no COCO file of captions: it lacks {error}") from None
    return said


def _of_karpathy(path: Path, split: str) -> Said:
    content = _json(path)
    wanted = {"train", "restval"} if split == "train" else set(_VALIDATION) if split in _VALIDATION else {split}
    try:
        return [
            (
                str(Path(image.get("filepath", ""), image["filename"])),
                [str(sentence["raw"]) for sentence in image["sentences"]],
            )
            for image in content["images"]
            if image["split"] in wanted
        ]
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no file of Karpathy's splits: it lacks {error}") from None


def _of_records(path: Path, picture: str, caption: str) -> Said:
    for record in read_records(path, needs=(picture, caption)):
        given = record.value(caption)
        several = given if isinstance(given, list) else [given]
        if not all(isinstance(one, str) for one in several):
            raise ValueError(f"{record.where}: {caption!r} must be a text or a list of texts")
        yield record.text(picture), several


def _listing(folder: Path, split: str) -> Path:
    """The file that names the pictures of a split."""
    wanted = _VALIDATION if split in _VALIDATION else (split,)
    for name in wanted:
        if (folder / f"{name}.txt").is_file():
            return folder / f"{name}.txt"
        found = sorted(path for path in folder.glob("*.txt") if path.stem.lower().endswith(f"{name}images"))
        if found:
            return found[0]
    raise ValueError(
        f"{folder} does not say which pictures are of {split!r}: put their names, a line each, into {split}.txt (or "
        f"Flickr_8k.{split}Images.txt)"
    )


def _of_flickr(path: Path, listing: Path) -> Said:
    captions: dict[str, list[str]] = {line.strip(): [] for line in lines(listing) if line.strip()}
    for number, line in enumerate(lines(path), start=1):
        if not line.strip():
            continue
        name, tab, caption = line.partition("\t")
        picture, mark, _ = name.rpartition("#")
        if not tab or not mark:
            raise ValueError(
                f"{path}, line {number} must be a name, # and a number, a tab and a caption, such as: "
                f"dog.jpg#0<tab>A dog runs . It is: {line[:80]}"
            )
        if picture in captions:
            captions[picture].append(caption)
    return list(captions.items())
