"""Lines of text files, plain or packed by gzip, decoded strictly.

Nothing is repaired and nothing is left out: what cannot be read in full is one error that says where. Only
"\\n" ends a line (a "\\r" before it goes with it): Unicode's other separators stand in real sentences.
"""

import gzip
import sys
import zlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from regard.data.files import hint, listed, names, shortened


def lines(path: str | Path) -> Iterator[str]:
    """The lines of a file without their ends, at least one; "-" is standard input.

    Raises:
        ValueError: no such file, an empty one, broken UTF-8 or gzip.
    """
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
        near = hint(Path(path).name, names(Path(path).parent))
        raise ValueError(f"there is no file {path}{near}") from None
    except IsADirectoryError:
        raise ValueError(f"{path} is a folder, not a text file") from None
    if number == 0:
        raise ValueError(f"{shown} is empty")


def read_lines(path: str | Path) -> list[str]:
    """The sentences of a text file, a line each; "-" is standard input. An empty line is an error."""
    found = list(lines(path))
    refuse_empty(path, found)
    return found


def refuse_empty(path: str | Path, found: Sequence[str]) -> None:
    """Raise ValueError where a line holds nothing."""
    shown = "standard input" if str(path) == "-" else path
    empty = [number for number, line in enumerate(found, start=1) if not line.strip()]
    if empty:
        more = f", and {len(empty) - 1} more: {listed(empty[1:])}" if len(empty) > 1 else ""
        raise ValueError(f"{shown}, line {empty[0]} is empty{more}; every line must hold a sentence")


def _opened(path: str | Path) -> Any:
    if str(path) == "-":
        return nullcontext(sys.stdin.buffer)
    return gzip.open(path, "rb") if Path(path).suffix == ".gz" else open(path, "rb")


def _not_utf8(shown: str | Path, number: int, offset: int, line: bytes) -> str:
    encoding = "UTF-16" if number == 1 and line[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
    return (
        f"{shown}, line {number}, byte {offset} of the file is not UTF-8: {shortened(ascii(line)[2:-1])}; "
        f"if it is {encoding}, convert it with iconv -f {encoding} -t UTF-8"
    )
