"""Parallel text: sentences and their translations, read from the files that people have.

Nothing is repaired and nothing is left out: what cannot be read in full is one error that says where. Only
"\\n" ends a line (a "\\r" before it goes with it): Unicode's other separators stand in real sentences.
"""

import gzip
import json
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class ParallelText:
    """Sentences and their translations, equally many, and the names of where they came from."""

    sources: list[str]
    targets: list[str]
    source_name: str = "the sources"
    target_name: str = "the targets"

    def __post_init__(self) -> None:
        if len(self.sources) != len(self.targets):
            raise ValueError(
                f"{self.source_name} has {len(self.sources)} lines, but {self.target_name} has "
                f"{len(self.targets)}: line N of the one must be the translation of line N of the other"
            )

    def __len__(self) -> int:
        return len(self.sources)


def read_parallel(folder: str | Path, name: str, *, source: str, target: str) -> ParallelText:
    """Read the pairs called `name` ("train") from what the folder holds, plain or with `.gz`.

    * text, a line a sentence: `train.en` and `train.de`;
    * `train.tsv`: a header with columns `en` and `de`, fields as they are (no quoting), one pair a line;
    * `train.jsonl`: an object a line, `{"en": ..., "de": ...}` or `{"translation": {"en": ..., "de": ...}}`.

    Args:
        folder: where the files are.
        name: what they are called, without endings.
        source, target: endings, columns or keys: usually the languages' codes.

    Raises:
        ValueError: none of the formats is there, or several are; or a file cannot be read in full: unequal
            numbers of lines, an empty line, a missing column, broken UTF-8, JSON or gzip.
    """
    folder = Path(folder)
    if source == target:
        raise ValueError(f"source and target are both {source!r}: name the two languages, like source=en, target=de")
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder{_hint(folder.name, _names(folder.parent))}")
    found: list[tuple[Path, ...]] = [
        (sources, targets)
        for sources in _plain_or_gz(folder / f"{name}.{source}")
        for targets in _plain_or_gz(folder / f"{name}.{target}")
    ]
    found += [(path,) for ending in ("tsv", "jsonl") for path in _plain_or_gz(folder / f"{name}.{ending}")]
    if not found:
        raise ValueError(_nothing_found(folder, name, source, target))
    if len(found) > 1:
        choices = "; ".join(" with ".join(path.name for path in paths) for paths in found)
        raise ValueError(f"{folder} holds {name!r} more than once ({choices}): move all but one out of the folder")
    paths = found[0]
    if len(paths) == 2:
        return _read_text(*paths)
    read = _read_tsv if ".tsv" in paths[0].suffixes else _read_jsonl
    return read(paths[0], source, target)


def read_lines(path: str | Path) -> list[str]:
    """The sentences of a text file, plain or `.gz`, a line each; "-" is standard input."""
    lines = list(_lines(path))
    _refuse_empty(path, lines)
    return lines


def _read_text(source: Path, target: Path) -> ParallelText:
    sources, targets = list(_lines(source)), list(_lines(target))
    if len(sources) == len(targets):
        _refuse_empty(source, sources)
        _refuse_empty(target, targets)
    return ParallelText(sources, targets, str(source), str(target))


def _read_tsv(path: Path, source: str, target: str) -> ParallelText:
    lines = _lines(path)
    header = next(lines).split("\t")
    columns = [_column(path, header, wanted) for wanted in (source, target)]
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(lines, start=2):
        fields = line.split("\t")
        if len(fields) != len(header):
            raise ValueError(
                f"{path}, line {number} has {len(fields)} fields, but the header has {len(header)} "
                f"({_listed(header)}): fields are divided by single tabs"
            )
        pairs.append(_pair(path, number, fields[columns[0]], fields[columns[1]], source, target))
    if not pairs:
        raise ValueError(f"{path} has a header and no pairs")
    return _from_pairs(path, pairs, source, target)


def _column(path: Path, header: list[str], wanted: str) -> int:
    if header.count(wanted) != 1:
        many = "more than one column" if wanted in header else "no column"
        raise ValueError(
            f"{path} has {many} {wanted!r}; its first line names the columns {_listed(header)}{_hint(wanted, header)}"
        )
    return header.index(wanted)


def _read_jsonl(path: Path, source: str, target: str) -> ParallelText:
    pairs: list[tuple[str, str]] = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}, line {number}"
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{where} is not JSON ({error}): {_shortened(line)}") from None
        if isinstance(entry, dict) and isinstance(entry.get("translation"), dict):
            entry = entry["translation"]
        if not isinstance(entry, dict):
            raise ValueError(
                f'{where} must be an object like {{"{source}": "...", "{target}": "..."}}: {_shortened(line)}'
            )
        pairs.append(_pair(path, number, _value(where, entry, source), _value(where, entry, target), source, target))
    return _from_pairs(path, pairs, source, target)


def _value(where: str, entry: dict[str, Any], key: str) -> str:
    if key not in entry:
        raise ValueError(f"{where} has no key {key!r}; its keys are {_listed(list(entry))}{_hint(key, list(entry))}")
    if not isinstance(entry[key], str):
        raise ValueError(f"{where}: {key!r} must be a text, not {_shortened(json.dumps(entry[key]))}")
    text: str = entry[key]
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{where}: {key!r} holds half of a character (a lone \\ud800 to \\udfff): {text!a}")
    return text


def _pair(path: Path, number: int, source_text: str, target_text: str, source: str, target: str) -> tuple[str, str]:
    for name, text in ((source, source_text), (target, target_text)):
        if not text.strip():
            raise ValueError(f"{path}, line {number}: {name!r} is empty; give it a text or take the line out")
    return source_text, target_text


def _from_pairs(path: Path, pairs: list[tuple[str, str]], source: str, target: str) -> ParallelText:
    sources, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return ParallelText(sources, targets, f"{path}, {source}", f"{path}, {target}")


def _lines(path: str | Path) -> Iterator[str]:
    """The lines of a file without their ends, decoded strictly; at least one."""
    shown = "standard input" if str(path) == "-" else path
    number = offset = 0
    try:
        with _opened(path) as stream:
            for number, line in enumerate(stream, start=1):
                try:
                    text = line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise ValueError(_not_utf8(shown, number, offset + error.start, line)) from None
                if number == 1:
                    text = text.removeprefix("\ufeff")  # the mark that some editors put before the text
                yield text.removesuffix("\n").rstrip("\r")
                offset += len(line)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path} cannot be unpacked after line {number} ({error}): it is cut off or damaged; copy it anew"
        ) from None
    except FileNotFoundError:
        near = _hint(Path(path).name, _names(Path(path).parent))
        raise ValueError(f"there is no file {path}{near}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a text file") from None
    if number == 0:
        raise ValueError(f"{shown} is empty")


def _opened(path: str | Path) -> Any:
    if str(path) == "-":
        return nullcontext(sys.stdin.buffer)
    return gzip.open(path, "rb") if Path(path).suffix == ".gz" else open(path, "rb")


def _not_utf8(shown: str | Path, number: int, offset: int, line: bytes) -> str:
    encoding = "UTF-16" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
    return (
        f"{shown}, line {number}, byte {offset} of the file is not UTF-8: {_shortened(ascii(line)[2:-1])}; "
        f"if it is {encoding}, convert it with iconv -f {encoding} -t UTF-8"
    )


def _refuse_empty(path: str | Path, lines: Sequence[str]) -> None:
    shown = "standard input" if str(path) == "-" else path
    empty = [number for number, line in enumerate(lines, start=1) if not line.strip()]
    if empty:
        more = f", and {len(empty) - 1} more: {_listed(empty[1:])}" if len(empty) > 1 else ""
        raise ValueError(f"{shown}, line {empty[0]} is empty{more}; every line must hold a sentence")


def _nothing_found(folder: Path, name: str, source: str, target: str) -> str:
    """What was looked for, and what is there instead."""
    here = [language for language in (source, target) if _plain_or_gz(folder / f"{name}.{language}")]
    if here:
        missing = target if here == [source] else source
        message = f"{folder} has {name}.{here[0]} but no {name}.{missing}"
    else:
        message = (
            f"{folder} has no {name!r}: looked for {name}.{source} with {name}.{target}, {name}.tsv and "
            f"{name}.jsonl, each also with .gz"
        )
    names = _names(folder)
    near = [close for close in (_nearest(f"{name}.{ending}", names) for ending in (source, target)) if close]
    hint = f"; did you mean {_listed(list(dict.fromkeys(near)))}?" if near and not here else ""
    return f"{message}. The folder holds {_listed(names) or 'nothing'}{hint}"


def _plain_or_gz(path: Path) -> list[Path]:
    return [each for each in (path, Path(f"{path}.gz")) if each.is_file()]


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _nearest(wanted: str, names: Sequence[str]) -> str:
    return next(iter(get_close_matches(wanted, names, n=1)), "")


def _hint(wanted: str, names: Sequence[str]) -> str:
    near = _nearest(wanted, names)
    return f"; did you mean {near!r}?" if near else ""


def _listed(things: Sequence[object], limit: int = 12) -> str:
    rest = f" and {len(things) - limit} more" if len(things) > limit else ""
    return ", ".join(str(thing) for thing in things[:limit]) + rest


def _shortened(text: str, limit: int = 80) -> str:
    return text.strip() if len(text.strip()) <= limit else text.strip()[: limit - 3] + "..."
