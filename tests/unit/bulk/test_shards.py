"""Shards: every item lies in one, and what cannot be read is an item too."""

import gzip
import json
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from regard.bulk.parts import Parts
from regard.bulk.shards import shards


def texts_of(pattern: object, size: int, column: str = "text") -> list[tuple[str, str]]:
    found = [item for shard in shards(str(pattern), reads="texts", column=column, size=size) for item in shard.items()]
    return [(where, str(given)) for where, given in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The same 23 texts as JSON lines, Parquet, text, and packed."""
    texts = [f"text ä {number}" for number in range(23)]
    lines = "".join(json.dumps({"n": number, "text": text}) + "\n" for number, text in enumerate(texts))
    (tmp_path / "a.jsonl").write_text(lines)
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    (tmp_path / "c.txt").write_bytes("\n".join(texts).encode())  # the last line without an end
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "d.parquet", row_group_size=7)
    return tmp_path


@pytest.mark.parametrize("size", [1, 5, 7, 23, 100])
@pytest.mark.parametrize("name", ["a.jsonl", "b.jsonl.gz", "c.txt", "d.parquet"])
def test_every_item_is_in_one_shard(folder: Path, name: str, size: int) -> None:
    path = folder / name
    assert texts_of(path, size) == [(f"{path}:{number + 1}", f"text ä {number}") for number in range(23)]
    pieces = shards(str(path), reads="texts", column="text", size=size)
    assert [piece.number for piece in pieces] == list(range(-(-23 // size)))
    assert all(len(piece) <= size for piece in pieces)
    assert sum(map(len, pieces)) == 23


def test_endings_in_capitals_are_the_same(folder: Path) -> None:
    (folder / "a.jsonl").rename(folder / "A.JSONL")
    assert texts_of(folder / "A.JSONL", 5)[0][1] == "text ä 0"


def test_shards_can_be_read_in_any_order(folder: Path) -> None:
    pieces = shards(str(folder), reads="texts", column="text", size=4)
    assert len(pieces) == 4 * 6
    backwards = [list(piece.items()) for piece in reversed(pieces)]
    assert [list(piece.items()) for piece in pieces] == backwards[::-1]


def test_pictures_are_an_item_each(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    names = ["a.png", "b.JPG", "deep/c.webp", "notes.txt"]
    for name in names:
        (tmp_path / name).touch()
    pieces = shards(str(tmp_path), reads="pictures", column="text", size=2)
    assert [piece.files for piece in pieces] == [
        (str(tmp_path / "a.png"), str(tmp_path / "b.JPG")),
        (str(tmp_path / "deep/c.webp"),),
    ]
    assert list(pieces[1].items()) == [(str(tmp_path / "deep/c.webp"), str(tmp_path / "deep/c.webp"))]


def test_what_cannot_be_read_is_told_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(
        b'{"text": "good"}\n{"text": " "}\nnot json\n[1]\n{"txt": "x"}\n{"text": 3}\n\xff\n{"text": "last"}\n'
    )
    told = [given for _, given in texts_of(path, 3)]
    assert told[0] == "good"
    assert told[1].startswith("the line: 'text' is empty")
    assert told[2].startswith("the line is not JSON (")
    assert told[3] == 'the line is no object like {"text": "..."}: [1]'
    assert told[4] == "the line has no key 'text'; its keys are txt; did you mean 'txt'?"
    assert told[5] == "the line: 'text' must be a text, not 3"
    assert told[6] == "the line is not UTF-8: \\xff"
    assert told[7] == "last"
    parquet.write_table(pyarrow.table({"text": ["a", None, "c"]}), tmp_path / "holes.parquet")
    assert texts_of(tmp_path / "holes.parquet", 2)[1][1] == "the row: 'text' must be a text, not null"


@pytest.mark.parametrize(
    ("pattern", "told"),
    [
        ("gone.jsonl", "--input gone.jsonl: there is no such file, and none that fits it; did you mean 'one.jsonl'?"),
        ("*.txt.gz", "--input *.txt.gz: there is no such file, and none that fits it"),
        ("picture.png", "this model reads texts (.jsonl, .txt, .parquet), and picture.png is none"),
        ("empty.txt", "empty.txt is empty"),
        ("torn.parquet", "torn.parquet cannot be read as Parquet ("),
    ],
)
def test_what_does_not_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pattern: str, told: str) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("one.jsonl", "picture.png", "empty.txt", "torn.parquet"):
        (tmp_path / name).touch()
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(ValueError, match=r".") as error:
        shards(pattern, reads="texts", column="text", size=2)
    assert told in str(error.value)


def test_a_column_that_is_not_there(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"d.parquet has no column 'txt'; its columns are text; did you mean 'text'\?"):
        shards(str(folder / "d.parquet"), reads="texts", column="txt", size=2)
    with pytest.raises(ValueError, match=r"a shard has at least 1 item, got --shard 0"):
        shards(str(folder), reads="texts", column="text", size=0)


def test_a_part_is_there_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = Parts(tmp_path / "out")
    parts.begin({"model": "run"})
    parts.begin({"model": "run"})  # goes on
    with pytest.raises(ValueError, match=r"holds what came out of another call \(model was different\): name another"):
        parts.begin({"model": "other"})
    parts.write(1, [{"id": "a"}])
    assert parts.missing(3) == [0, 2]

    def broken(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("regard.bulk.parts.os.replace", broken)
    with pytest.raises(OSError, match="the disk is full"):
        parts.write(2, [{"id": "b"}])
    assert parts.missing(3) == [0, 2]
    with pytest.raises(ValueError, match=r"is not empty: name another folder by -o"):
        Parts(tmp_path).begin({"model": "run"})
