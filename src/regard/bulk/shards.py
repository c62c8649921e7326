"""Shards: pieces of what there is to predict for, each small enough to be done at once and done again."""

import glob
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from regard.data import pictures, sounds
from regard.data.files import hint, listed, names, shortened
from regard.data.lines import lines
from regard.data.records import Record, ending

TEXTS = ("jsonl", "txt", "parquet")
Item = tuple[str, str | ValueError]  # where it stands, and the input, or why it cannot be read


@dataclass(frozen=True, kw_only=True)
class Shard:
    """Some inputs, by where they stand: items `start` to `stop` of a file, or files.

    Args:
        number: of the shard, from 0.
        path: the file whose items they are; None: each file is an item.
        files: these files.
        start, stop: the first item, and the one behind the last.
        offset: the byte at which item `start` begins, where a file can be entered in the middle.
        column: of records, the field with the text.
    """

    number: int
    path: str | None = None
    files: tuple[str, ...] = ()
    start: int = 0
    stop: int = 0
    offset: int = 0
    column: str = "text"

    def __len__(self) -> int:
        return len(self.files) if self.path is None else self.stop - self.start

    def items(self) -> Iterator[Item]:
        """The inputs, each with its place: one that cannot be read is told, and its neighbours go on."""
        if self.path is None:
            yield from ((path, path) for path in self.files)
            return
        kind = _kind(self.path)
        if kind == "parquet":
            found: Iterator[Any] = _rows(self.path, self.column, self.start, self.stop)
        else:
            found = (_text(line, kind, self.column) for line in _lines(self.path, self.offset, self.start, len(self)))
        for number, text in enumerate(found, start=self.start + 1):
            yield f"{self.path}:{number}", text


def shards(pattern: str, *, reads: str, column: str, size: int) -> list[Shard]:
    """What there is to predict for, in an order that depends on the names of files alone.

    Args:
        pattern: a file, a folder, or a pattern such as `data/*.jsonl` (`**`: folders in folders). Texts: JSON lines,
            Parquet, or text, a line an input. Pictures and sounds: a file an input.
        reads: what the model reads: "texts", "pictures" or "sounds".
        column: of records, the field with the text.
        size: the most items of a shard.

    Raises:
        ValueError: nothing fits the pattern, or files of another kind.
    """
    if size < 1:
        raise ValueError(f"a shard has at least 1 item, got --shard {size}")
    paths = _files(pattern, reads)
    found: list[Shard] = []
    if reads != "texts":
        for start in range(0, len(paths), size):
            found.append(Shard(number=len(found), files=tuple(paths[start : start + size])))
        return found
    for path in paths:
        starts, count = _starts(path, column, size)
        for start, offset in starts:
            stop = min(start + size, count)
            found.append(Shard(number=len(found), path=path, start=start, stop=stop, offset=offset, column=column))
    return found


def _files(pattern: str, reads: str) -> list[str]:
    endings = {
        "texts": tuple(f".{kind}" for kind in TEXTS),
        "pictures": pictures.ENDINGS,
        "sounds": sounds.ENDINGS,
    }[reads]
    matched = f"{pattern}/**/*" if Path(pattern).is_dir() else pattern
    found = sorted(path for path in glob.glob(matched, recursive=True) if Path(path).is_file())
    fitting = [path for path in found if path.removesuffix(".gz").lower().endswith(endings)]
    if fitting:
        return fitting
    if found:
        raise ValueError(
            f"--input {pattern}: this model reads {reads} ({', '.join(endings)}), and {listed(found, 3)} "
            f"{'is' if len(found) == 1 else 'are'} none"
        )
    near = hint(Path(pattern).name, names(Path(pattern).parent))
    raise ValueError(f"--input {pattern}: there is no such file, and none that fits it{near}")


def _kind(path: str) -> str:
    """What a file of texts is, by its name."""
    return ending(Path(path.lower()))


def _parquet(path: str) -> Any:
    """A Parquet file, opened.

    Raises:
        ValueError: it is none.
    """
    from pyarrow import ArrowInvalid, parquet

    try:
        return parquet.ParquetFile(path)
    except ArrowInvalid as error:
        raise ValueError(f"{path} cannot be read as Parquet ({error}): it is cut off or something else") from None


def _starts(path: str, column: str, size: int) -> tuple[list[tuple[int, int]], int]:
    """Where the shards of a file begin, as item and byte, and how many items it has."""
    if _kind(path) == "parquet":
        file = _parquet(path)
        known = file.schema_arrow.names
        if column not in known:
            raise ValueError(f"{path} has no column {column!r}; its columns are {listed(known)}{hint(column, known)}")
        return [(start, 0) for start in range(0, file.metadata.num_rows, size)], file.metadata.num_rows
    if path.endswith(".gz"):  # which can be entered at its beginning alone
        count = sum(1 for _ in lines(path))
        return [(start, 0) for start in range(0, count, size)], count
    starts, offset, count = [], 0, 0
    with open(path, "rb") as file:
        for count, line in enumerate(file):
            if count % size == 0:
                starts.append((count, offset))
            offset += len(line)
    if not starts:
        raise ValueError(f"{path} is empty")
    return starts, count + 1


def _lines(path: str, offset: int, start: int, count: int) -> Iterator[str | ValueError]:
    """Lines of a text file; a broken one is an error in its place."""
    if path.endswith(".gz"):
        yield from islice(lines(path), start, start + count)
        return
    with open(path, "rb") as file:
        file.seek(offset)
        for line in islice(file, count):
            try:
                text = line.decode("utf-8").removesuffix("\n").rstrip("\r")
            except UnicodeDecodeError:
                yield ValueError(f"the line is not UTF-8: {shortened(ascii(line.rstrip())[2:-1])}")
            else:
                yield text.removeprefix("\ufeff") if offset == start == 0 else text


def _text(line: str | ValueError, kind: str, column: str) -> str | ValueError:
    """The input that a line holds."""
    import json

    if isinstance(line, ValueError):
        return line
    if kind != "jsonl":
        return line if line.strip() else ValueError("the line is empty")
    try:
        entry = json.loads(line)
        if not isinstance(entry, dict):
            return ValueError(f'the line is no object like {{"{column}": "..."}}: {shortened(line)}')
    except (ValueError, RecursionError) as error:
        return ValueError(f"the line is not JSON ({error}): {shortened(line)}")
    return _checked(Record("the line", entry), column)


def _checked(record: Record, column: str) -> str | ValueError:
    """The text of a record."""
    try:
        return record.text(column)
    except ValueError as error:
        return error


def _rows(path: str, column: str, start: int, stop: int) -> Iterator[str | ValueError]:
    """The texts of some rows of a Parquet file; of its groups of rows those alone are read that hold them."""
    file, first = _parquet(path), 0
    for group in range(file.metadata.num_row_groups):
        last = first + file.metadata.row_group(group).num_rows
        if first < stop and start < last:
            values = file.read_row_group(group, columns=[column]).column(0)
            for value in values.slice(max(start - first, 0), min(stop, last) - max(start, first)).to_pylist():
                yield _checked(Record("the row", {column: value}), column)
        first = last
