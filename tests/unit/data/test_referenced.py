"""Texts with references: every format gives the same, one reference or several."""

import json
import re
from pathlib import Path

import pytest

from regard.data.referenced import read_referenced

DOCUMENTS = ["#A#: Hi.\n#B#: Hello, and bye.", "One line."]
REFERENCES = [("They greet.", "A and B say hi, and bye."), ("A line.", "It is one.")]


def read(folder: Path):
    return read_referenced(folder, "train", source="document", target="summary")


def write_json(folder: Path, rows: list[dict[str, object]]) -> None:
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def test_several_references_are_a_list_or_numbered(tmp_path: Path) -> None:
    write_json(tmp_path, [{"document": d, "summary": list(r)} for d, r in zip(DOCUMENTS, REFERENCES, strict=True)])
    found = read(tmp_path)
    assert found.sources == DOCUMENTS
    assert found.references == REFERENCES
    rows = zip(DOCUMENTS, REFERENCES, strict=True)
    write_json(tmp_path, [{"document": d, "summary2": b, "summary1": a, "x": 1} for d, (a, b) in rows])
    assert read(tmp_path) == found
    pairs = found.pairs()
    assert len(found) == 2
    assert list(zip(pairs.sources, pairs.targets, strict=True)) == [
        (document, reference)
        for document, references in zip(DOCUMENTS, REFERENCES, strict=True)
        for reference in references
    ]


def test_csv_holds_documents_of_several_lines(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(
        'summary,document\nThey greet.,"#A#: Hi.\n#B#: Hello, and ""bye""."\n', encoding="utf-8"
    )
    found = read(tmp_path)
    assert found.sources == ['#A#: Hi.\n#B#: Hello, and "bye".']
    assert found.references == [("They greet.",)]


def test_lines_of_text(tmp_path: Path) -> None:
    (tmp_path / "train.document").write_text("one\ntwo\n")
    (tmp_path / "train.summary").write_text("1\n2\n")
    assert read(tmp_path).references == [("1",), ("2",)]
    (tmp_path / "train.summary").rename(tmp_path / "train.summary1")
    (tmp_path / "train.summary2").write_text("I\nII\n")
    assert read(tmp_path).references == [("1", "I"), ("2", "II")]
    (tmp_path / "train.summary2").write_text("I\n")
    with pytest.raises(ValueError, match=r"train.document has 2 lines, but .*train.summary2 has 1"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"document": "a"}, "line 1 has no key 'summary'; its keys are document"),
        ({"document": "a", "sumary": "b"}, "did you mean 'sumary'?"),
        ({"document": "a", "summary": []}, "'summary' is an empty list; give a text at least one reference"),
        ({"document": "a", "summary": ["b", " "]}, "line 1, 'summary': '2' is empty"),
        ({"document": "a", "summary": ["b", 3]}, "line 1, 'summary': '2' must be a text, not 3"),
        ({"document": " ", "summary": "b"}, "line 1: 'document' is empty"),
        ({"document": ["a"], "summary": "b"}, "'document' must be a text"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, row: dict[str, object], message: str) -> None:
    write_json(tmp_path, [row])
    with pytest.raises(ValueError, match=re.escape(message)):
        read(tmp_path)


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "train.document").write_text("one\n")
    with pytest.raises(ValueError, match=r"has no 'train': looked for train.jsonl, .*The folder holds train.document"):
        read(tmp_path)
    with pytest.raises(ValueError, match="source and target are both 'a'"):
        read_referenced(tmp_path, "train", source="a", target="a")
    with pytest.raises(ValueError, match="is not a folder"):
        read_referenced(tmp_path / "none", "train", source="a", target="b")
