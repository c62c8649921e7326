"""Texts with one or several references: documents and their summaries, read from the files that people have."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regard.data.files import hint, listed, names, only, plain_or_gz, require_folder
from regard.data.lines import read_lines
from regard.data.parallel import ParallelText
from regard.data.records import Record, find_records, read_records


@dataclass(frozen=True)
class ReferencedText:
    """Texts, and the references of each: at least one."""

    sources: list[str]
    references: list[tuple[str, ...]]
    name: str = "the texts"

    def __len__(self) -> int:
        return len(self.sources)

    def pairs(self) -> ParallelText:
        """Every text with each of its references, to train on."""
        pairs = [
            (source, reference)
            for source, references in zip(self.sources, self.references, strict=True)
            for reference in references
        ]
        return ParallelText([one for one, _ in pairs], [other for _, other in pairs], self.name, self.name)


def read_referenced(folder: str | Path, name: str, *, source: str, target: str) -> ReferencedText:
    """Read the texts called `name` ("train") and their references from what the folder holds, plain or with `.gz`.

    * `train.jsonl`, an object a line: `{"document": "...", "summary": "..."}`, the reference a text or a list of texts;
    * `train.csv`, `train.tsv`: a header with the columns `document` and `summary`;
    * text, a line each: `train.document` and `train.summary`.

    Several references are a list, or stand under `summary1`, `summary2` and so on: keys, columns or files.

    Args:
        folder: where the files are.
        name: what they are called, without endings.
        source, target: keys, columns or endings.

    Raises:
        ValueError: none of the formats is there, or several are; or a file cannot be read in full.
    """
    folder = Path(folder)
    require_folder(folder)
    if source == target:
        raise ValueError(f"source and target are both {source!r}: name the two, like source=document, target=summary")
    found: list[tuple[Path, ...]] = [(path,) for path in find_records(folder, name)]
    for path in plain_or_gz(folder / f"{name}.{source}"):
        references = plain_or_gz(folder / f"{name}.{target}") or list(_numbered_files(folder, f"{name}.{target}"))
        found += [(path, *references)] if references else []
    if not found:
        there = names(folder)
        raise ValueError(
            f"{folder} has no {name!r}: looked for {name}.jsonl, {name}.csv, {name}.tsv, and {name}.{source} with "
            f"{name}.{target} (or {name}.{target}1, {name}.{target}2, ...), each also with .gz. The folder holds "
            f"{listed(there) or 'nothing'}{hint(name, there)}"
        )
    paths = only(found, folder, name)
    if len(paths) > 1:
        return _of_lines(paths[0], paths[1:])
    sources, given = [], []
    for record in read_records(paths[0], needs=(source,)):
        sources.append(record.text(source))
        given.append(_references(record, target))
    return ReferencedText(sources, given, str(paths[0]))


def _of_lines(source: Path, references: tuple[Path, ...]) -> ReferencedText:
    texts, columns = read_lines(source), [read_lines(path) for path in references]
    for path, column in zip(references, columns, strict=True):
        if len(column) != len(texts):
            raise ValueError(
                f"{source} has {len(texts)} lines, but {path} has {len(column)}: line N of the one must be the "
                "reference of line N of the other"
            )
    return ReferencedText(texts, list(zip(*columns, strict=True)), str(source))


def _references(record: Record, target: str) -> tuple[str, ...]:
    """Under the key itself, a text or a list; or under the key with 1, 2 and so on."""
    if target not in record.fields and f"{target}1" in record.fields:
        return tuple(record.text(key) for key in _numbered(target, list(record.fields)))
    if isinstance(record.value(target), list):
        entries = {str(number): text for number, text in enumerate(record.fields[target], start=1)}
        if not entries:
            raise ValueError(f"{record.where}: {target!r} is an empty list; give a text at least one reference")
        numbered = Record(f"{record.where}, {target!r}", entries)
        return tuple(numbered.text(key) for key in entries)
    return (record.text(target),)


def _numbered(target: str, known: list[str]) -> Iterator[str]:
    number = 1
    while f"{target}{number}" in known:
        yield f"{target}{number}"
        number += 1


def _numbered_files(folder: Path, name: str) -> Iterator[Path]:
    number = 1
    while found := plain_or_gz(folder / f"{name}{number}"):
        yield found[0]
        number += 1
