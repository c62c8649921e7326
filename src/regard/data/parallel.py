"""Parallel text: sentences and their translations, read from the files that people have."""

from dataclasses import dataclass
from pathlib import Path

from regard.data.files import listed, names, nearest, only, plain_or_gz, require_folder
from regard.data.lines import lines, refuse_empty
from regard.data.records import Record, find_records, read_records


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
    * `train.csv`: a header with columns `en` and `de`, fields in quotes where they need them;
    * `train.tsv`: the same divided by tabs, fields as they are (no quoting), one pair a line;
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
    require_folder(folder)
    found: list[tuple[Path, ...]] = [
        (sources, targets)
        for sources in plain_or_gz(folder / f"{name}.{source}")
        for targets in plain_or_gz(folder / f"{name}.{target}")
    ]
    found += [(path,) for path in find_records(folder, name)]
    if not found:
        raise ValueError(_nothing_found(folder, name, source, target))
    paths = only(found, folder, name)
    return _read_text(*paths) if len(paths) == 2 else _read_records(paths[0], source, target)


def _read_text(source: Path, target: Path) -> ParallelText:
    sources, targets = list(lines(source)), list(lines(target))
    if len(sources) == len(targets):
        refuse_empty(source, sources)
        refuse_empty(target, targets)
    return ParallelText(sources, targets, str(source), str(target))


def _read_records(path: Path, source: str, target: str) -> ParallelText:
    pairs: list[tuple[str, str]] = []
    for record in read_records(path, needs=(source, target)):
        nested = record.fields.get("translation")
        if isinstance(nested, dict):
            record = Record(record.where, nested)
        pairs.append((record.text(source), record.text(target)))
    sources, targets = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    return ParallelText(sources, targets, f"{path}, {source}", f"{path}, {target}")


def _nothing_found(folder: Path, name: str, source: str, target: str) -> str:
    """What was looked for, and what is there instead."""
    here = [language for language in (source, target) if plain_or_gz(folder / f"{name}.{language}")]
    if here:
        missing = target if here == [source] else source
        message = f"{folder} has {name}.{here[0]} but no {name}.{missing}"
    else:
        message = (
            f"{folder} has no {name!r}: looked for {name}.{source} with {name}.{target}, {name}.csv, "
            f"{name}.tsv and {name}.jsonl, each also with .gz"
        )
    there = names(folder)
    near = [close for close in (nearest(f"{name}.{ending}", there) for ending in (source, target)) if close]
    hint = f"; did you mean {listed(list(dict.fromkeys(near)))}?" if near and not here else ""
    return f"{message}. The folder holds {listed(there) or 'nothing'}{hint}"
