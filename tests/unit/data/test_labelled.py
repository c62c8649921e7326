"""Labelled texts: every format gives the same, and what cannot be read is one error that says where."""

import gzip
import json
import re
from pathlib import Path

import pytest

from regard.data.labelled import LabelledText, read_labelled

TEXTS = ["A fine film.", 'She said "no", and I agree.', "Nicht übel, \u2028 gar nicht übel."]
LABELS = ["positive", "negative", "positive"]


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


FORMS = {
    "train.csv": lines("label,text", *(f"{label},{quoted(text)}" for label, text in zip(LABELS, TEXTS, strict=True))),
    "train.tsv": lines("text\tlabel", *(f"{text}\t{label}" for label, text in zip(LABELS, TEXTS, strict=True))),
    "train.jsonl": lines(*(json.dumps({"text": t, "label": c, "id": 7}) for c, t in zip(LABELS, TEXTS, strict=True))),
    "train.txt": lines(*(f"{label} {text}" for label, text in zip(LABELS, TEXTS, strict=True))),
    "train": lines(*(f"{label} {text}" for label, text in zip(LABELS, TEXTS, strict=True))),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", FORMS)
def test_every_format_gives_the_same_texts(tmp_path: Path, name: str, packed: bool) -> None:
    content = gzip.compress(FORMS[name]) if packed else FORMS[name]
    (tmp_path / (f"{name}.gz" if packed else name)).write_bytes(content)
    found = read_labelled(tmp_path, "train")
    assert found.texts == TEXTS
    assert found.labels == [(label,) for label in LABELS]
    assert len(found) == 3
    assert all(str(tmp_path) in where for where in found.wheres)


def test_a_folder_a_label(tmp_path: Path) -> None:
    for number, (label, text) in enumerate(zip(LABELS, TEXTS, strict=True)):
        (tmp_path / "train" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "train" / label / f"{number}.txt").write_text(f"{text}\nA second line.\n", encoding="utf-8")
    (tmp_path / "train" / "positive" / ".hidden").write_bytes(b"\xff")
    found = read_labelled(tmp_path, "train")
    assert dict(zip(found.texts, found.labels, strict=True)) == {
        f"{text}\nA second line.": (label,) for label, text in zip(LABELS, TEXTS, strict=True)
    }


def test_names_of_columns_and_numbers_for_labels(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(
        lines(*(json.dumps({"review": "a", "stars": stars}) for stars in (10, 9, 2, True)))
    )
    found = read_labelled(tmp_path, "train", text="review", label="stars")
    assert found.labels == [("10",), ("9",), ("2",), ("True",)]
    numbers = LabelledText(["a"] * 3, [("10",), ("9",), ("-2",)], ["here"] * 3)
    assert numbers.classes() == ["-2", "9", "10"]
    assert numbers.numbers(["-2", "9", "10"]) == [(2,), (1,), (0,)]


def test_several_labels(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_bytes(lines("text,label", 'one,"b, a"', "two,", "three,a"))
    rows = ('{"text": "one", "label": ["b", 3, "b"]}', '{"text": "two", "label": []}')
    (tmp_path / "val.jsonl").write_bytes(lines(*rows))
    (tmp_path / "test.txt").write_bytes(lines("a,b one", "a two words"))
    assert read_labelled(tmp_path, "train", several=True).labels == [("b", "a"), (), ("a",)]
    assert read_labelled(tmp_path, "val", several=True).labels == [("b", "3"), ()]
    assert read_labelled(tmp_path, "test", several=True).labels == [("a", "b"), ("a",)]
    found = read_labelled(tmp_path, "train", several=True)
    assert found.classes() == ["a", "b"]
    assert found.numbers(["a", "b"]) == [(0, 1), (), (0,)]
    assert read_labelled(tmp_path, "test").labels == [("a,b",), ("a",)], "one label, unless several are asked for"


def test_a_label_that_no_training_text_has() -> None:
    texts = LabelledText(["a", "b"], [("positive",), ("negativ",)], ["val.csv, line 2", "val.csv, line 3"])
    with pytest.raises(ValueError, match=r"val.csv, line 3 has the label 'negativ', which no training text has; those "
                       r"have negative, positive; did you mean 'negative'\?"):  # fmt: skip
        texts.numbers(["negative", "positive"])


@pytest.mark.parametrize(
    ("name", "content", "parts"),
    [
        ("train.txt", b"positive\n", ["line 1 must be a label, a space and a text", "It is: positive"]),
        ("train.txt", b"positive a\n\npositive b\n", ["line 2 must be a label", "It is: empty"]),
        ("train.csv", b"text,label\na,\n", ["line 2: 'label' must be a text or a number, not ''"]),
        ("train.csv", b"text,label\n,x\n", ["line 2: 'text' is empty"]),
        ("train.jsonl", b'{"text": "a"}\n', ["line 1 has no key 'label'; its keys are text"]),
        (
            "train.jsonl",
            b'{"text": "a", "label": ["x", "y"]}\n',
            ["must be a text or a number, not ['x', 'y']", "--files.several true"],
        ),
        ("train.jsonl", b'{"text": "a", "label": null}\n', ["'label' must be a text or a number, not None"]),
        ("train.jsonl", b'{"text": 3, "label": "x"}\n', ["'text' must be a text, not 3"]),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, parts: list[str]) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, [name, *parts]))):
        read_labelled(tmp_path, "train")


def test_lists_hold_texts_and_numbers(tmp_path: Path) -> None:
    (tmp_path / "train.jsonl").write_bytes(b'{"text": "a", "label": [null]}\n')
    with pytest.raises(ValueError, match="'label' must be a list of texts or numbers, not None"):
        read_labelled(tmp_path, "train", several=True)


def test_folders_that_are_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is not a folder"):
        read_labelled(tmp_path / "none", "train")
    (tmp_path / "trian.csv").write_bytes(b"")
    with pytest.raises(ValueError, match=r"has no 'train': looked for train.csv, .* The folder holds trian.csv"):
        read_labelled(tmp_path, "train")
    (tmp_path / "train").mkdir()
    with pytest.raises(ValueError, match="has no folder with a text in it, one for each label; it holds nothing"):
        read_labelled(tmp_path, "train")
    with pytest.raises(ValueError, match=r"a text has one label: several go into a file, such as train\.csv"):
        read_labelled(tmp_path, "train", several=True)
    (tmp_path / "train" / "x").mkdir()
    (tmp_path / "train" / "x" / "1.txt").write_text(" \n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"1\.txt is empty"):
        read_labelled(tmp_path, "train")
    (tmp_path / "train.csv").write_bytes(b"text,label\na,b\n")
    with pytest.raises(ValueError, match=r"holds 'train' more than once \(train\.csv; train\)"):
        read_labelled(tmp_path, "train")
    with pytest.raises(ValueError, match="text and label are both 'a'"):
        read_labelled(tmp_path, "train", text="a", label="a")
