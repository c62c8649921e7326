"""Records with named fields: a row of CSV or TSV under its header, or an object a line of JSON."""

import csv
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from regard.data.files import hint, listed, plain_or_gz, shortened
from regard.data.lines import lines

ENDINGS = ("csv", "tsv", "jsonl")


class Record:
    """The fields of one record, and where it stands, which every error about it names."""

    def __init__(self, where: str, fields: dict[str, Any]) -> None:
        self.where, self.fields = where, fields

    def text(self, key: str) -> str:
        """A field that is a text.

        Raises:
            ValueError: there is none, or it is none, or it is empty.
        """
        value = self.value(key)
        if not isinstance(value, str):
            raise ValueError(f"{self.where}: {key!r} must be a text, not {shortened(json.dumps(value))}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError(f"{self.where}: {key!r} holds half of a character (a lone \\ud800 to \\udfff): {value!a}")
        if not value.strip():
            raise ValueError(f"{self.where}: {key!r} is empty; give it a text or take the line out")
        return value

    def value(self, key: str) -> Any:
        """A field, whatever it is.

        Raises:
            ValueError: there is none.
        """
        if key not in self.fields:
            known = list(self.fields)
            raise ValueError(f"{self.where} has no key {key!r}; its keys are {listed(known)}{hint(key, known)}")
        return self.fields[key]


def find_records(folder: Path, name: str) -> list[Path]:
    """The files of records called `name`: train.csv, train.tsv and train.jsonl, each also with .gz."""
    return [path for ending in ENDINGS for path in plain_or_gz(folder / f"{name}.{ending}")]


def read_records(path: Path, *, needs: Sequence[str]) -> Iterator[Record]:
    """The records of a file, as its ending says.

    CSV as RFC 4180 has it: fields divided by commas, in quotes where they hold commas, quotes or lines. TSV: fields
    divided by single tabs, as they are, so that a quote is a quote. JSONL: an object a line.

    Args:
        path: the file, plain or `.gz`.
        needs: the columns that a header must name, each once.

    Raises:
        ValueError: a file that cannot be read in full, a missing column, another number of fields than the header has.
    """
    kind = ending(path)
    if kind == "jsonl":
        return _read_objects(path, needs)
    return _read_table(path, _cells(path) if kind == "csv" else _fields(path), needs)


def ending(path: Path) -> str:
    """What a file's name ends in, but for `.gz`: "csv"."""
    return Path(path.name.removesuffix(".gz")).suffix.removeprefix(".")


def _read_objects(path: Path, needs: Sequence[str]) -> Iterator[Record]:
    """The objects of JSON lines."""
    for number, line in enumerate(lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not JSON ({error}): {shortened(line)}") from None
        if not isinstance(entry, dict):
            like = ", ".join(f'"{key}": "..."' for key in needs)
            raise ValueError(f"{where} must be an object like {{{like}}}: {shortened(line)}")
        yield Record(where, entry)


def _read_table(path: Path, rows: Iterator[tuple[int, list[str]]], needs: Sequence[str]) -> Iterator[Record]:
    _, header = next(rows)
    for wanted in needs:
        if header.count(wanted) != 1:
            many = "more than one column" if wanted in header else "no column"
            raise ValueError(
                f"{path} has {many} {wanted!r}; its first line names the columns {listed(header)}{hint(wanted, header)}"
            )
    count = 0
    for number, fields in rows:
        if len(fields) != len(header):
            divided = "commas" if ending(path) == "csv" else "single tabs"
            raise ValueError(
                f"{path}, line {number} has {len(fields)} fields, but the header has {len(header)} "
                f"({listed(header)}): fields are divided by {divided}"
            )
        count += 1
        yield Record(f"{path}, line {number}", dict(zip(header, fields, strict=True)))
    if not count:
        raise ValueError(f"{path} has a header and no records")


def _fields(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines(path), start=1):
        yield number, line.split("\t")


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of CSV with the lines that they begin in; empty lines between rows are none."""
    reader = csv.reader((f"{line}\n" for line in lines(path)), strict=True)
    limit = csv.field_size_limit(sys.maxsize)  # a document may be longer than the library expects of a field
    begins = 1
    try:
        for row in reader:
            if row:
                yield begins, row
            begins = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{path}, line {begins} is not CSV ({error}): a field with commas, quotes or lines goes in quotes, and a "
            'quote in it is doubled: "she said ""no"""'
        ) from None
    finally:
        csv.field_size_limit(limit)
