"""Labelled texts: what to classify and what it is, read from the files that people have."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.data.files import hint, listed, names, only, plain_or_gz, require_folder, shortened
from regard.data.lines import lines
from regard.data.records import Record, find_records, read_records

DIVIDER = ","  # between the labels of one text


@dataclass(frozen=True)
class LabelledText:
    """Texts, the labels of each (one, unless a text may have several or none), and where each of them stands."""

    texts: list[str]
    labels: list[tuple[str, ...]]
    wheres: list[str]

    def __len__(self) -> int:
        return len(self.texts)

    def classes(self) -> list[str]:
        """Every label that occurs, in alphabetical order; numbers in theirs."""
        found = {label for labels in self.labels for label in labels}
        numbers = all(label.removeprefix("-").isdecimal() for label in found)
        return sorted(found, key=int) if numbers else sorted(found)

    def numbers(self, classes: list[str]) -> list[tuple[int, ...]]:
        """The labels of each text by their places in `classes`.

        Raises:
            ValueError: a label that is not among them.
        """
        place = {label: number for number, label in enumerate(classes)}
        for where, labels in zip(self.wheres, self.labels, strict=True):
            for label in labels:
                if label not in place:
                    raise ValueError(
                        f"{where} has the label {label!r}, which no training text has; those have "
                        f"{listed(classes)}{hint(label, classes)}"
                    )
        return [tuple(sorted(place[label] for label in labels)) for labels in self.labels]


def read_labelled(
    folder: str | Path, name: str, *, text: str = "text", label: str = "label", several: bool = False
) -> LabelledText:
    """Read the labelled texts called `name` ("train") from what the folder holds, plain or with `.gz`.

    * `train.csv`, `train.tsv`: a header that names the columns `text` and `label`; fields of CSV stand in quotes where
      they hold commas, quotes or lines, those of TSV as they are;
    * `train.jsonl`: an object a line, `{"text": "...", "label": "..."}`; also numbers, and lists with `several`;
    * `train.txt`, or `train` without an ending: `label text` a line;
    * a folder `train` with a folder a label, a text a file (`train/positive/1.txt`).

    Args:
        folder: where the files are.
        name: what they are called, without endings.
        text, label: columns or keys.
        several: a text may have any number of labels, none included: divided by commas, or a list in JSON.

    Raises:
        ValueError: none of the formats is there, or several are; or a file cannot be read in full: an empty text, a
            missing label or column, broken UTF-8, JSON, CSV or gzip.
    """
    folder = Path(folder)
    require_folder(folder)
    if text == label:
        raise ValueError(f"text and label are both {text!r}: name the two columns, like text=review, label=stars")
    whole = folder / name
    records = find_records(folder, name)
    found = [(path,) for path in records]
    found += [(path,) for path in (*plain_or_gz(folder / f"{name}.txt"), *plain_or_gz(whole))]
    found += [(whole,)] if whole.is_dir() else []
    if not found:
        there = names(folder)
        raise ValueError(
            f"{folder} has no {name!r}: looked for {name}.csv, {name}.tsv, {name}.jsonl, {name}.txt and {name} (lines "
            f"of a label and a text), each also with .gz, and a folder {name} with a folder a label. The folder holds "
            f"{listed(there) or 'nothing'}{hint(name, there)}"
        )
    (path,) = only(found, folder, name)
    if path.is_dir():
        entries = _of_folders(path, several)
    elif path in records:
        entries = _of_records(read_records(path, needs=(text, label)), text, label, several)
    else:
        entries = _of_lines(path, several)
    texts, labels, wheres = [], [], []
    for where, content, given in entries:
        texts.append(content)
        labels.append(given)
        wheres.append(where)
    return LabelledText(texts, labels, wheres)


Entries = Iterator[tuple[str, str, tuple[str, ...]]]


def _of_records(records: Iterator[Record], text: str, label: str, several: bool) -> Entries:
    for record in records:
        given = record.value(label)
        content = record.text(text)
        yield record.where, content, _labels(record.where, label, given, several)


def _of_lines(path: Path, several: bool) -> Entries:
    for number, line in enumerate(lines(path), start=1):
        where = f"{path}, line {number}"
        given, _, content = line.strip().partition(" ")
        if not content.strip():
            raise ValueError(
                f"{where} must be a label, a space and a text, such as: positive a fine film. It is: "
                f"{shortened(line) or 'empty'}"
            )
        yield where, content.strip(), _labels(where, "the label", given, several)


def _of_folders(folder: Path, several: bool) -> Entries:
    if several:
        raise ValueError(
            f"{folder} holds a folder a label, where a text has one label: several go into a file, such as "
            f"{folder.name}.csv or {folder.name}.jsonl"
        )
    classes = [each for each in sorted(folder.iterdir()) if each.is_dir()]
    count = 0
    for each in classes:
        for path in sorted(path for path in each.iterdir() if path.is_file() and not path.name.startswith(".")):
            content = "\n".join(lines(path))
            if not content.strip():
                raise ValueError(f"{path} is empty; give it a text or take the file out")
            count += 1
            yield str(path), content, (each.name,)
    if not count:
        holds = listed(names(folder)) or "nothing"
        raise ValueError(f"{folder} has no folder with a text in it, one for each label; it holds {holds}")


def _labels(where: str, key: str, given: Any, several: bool) -> tuple[str, ...]:
    """The labels of one text, as they are written."""
    if several and isinstance(given, str):
        given = [part for part in given.split(DIVIDER) if part.strip()]
    labels = given if several and isinstance(given, list) else [given]
    for one in labels:
        if not isinstance(one, str | int) or not str(one).strip():
            what = "a list of texts or numbers" if several else "a text or a number"
            more = "; for several labels a text: --files.several true" if isinstance(one, list) else ""
            raise ValueError(f"{where}: {key!r} must be {what}, not {shortened(repr(one))}{more}")
    return tuple(dict.fromkeys(str(one).strip() for one in labels))
