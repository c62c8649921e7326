"""Records: the fields of CSV, TSV and JSON lines, and one clear error for what cannot be read in full."""

import csv
import io
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data.records import find_records, read_records

ROWS = [
    ('She said "no", and left.', "negative"),
    ("Two lines:\nthe second, with a comma", "positive"),
    ("  spaces  kept ", "x"),
    ('"', "a,b"),
    ("tab\there \u2028 and there", "ü"),
]
field = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00")).filter(
    lambda text: text.strip() and not text.startswith("\ufeff")
)


def as_csv(rows: list[tuple[str, str]], end: str = "\n") -> bytes:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator=end)
    writer.writerows([("text", "label"), *rows])
    return stream.getvalue().encode()


def read(path: Path) -> list[tuple[str, str]]:
    return [(record.text("text"), record.text("label")) for record in read_records(path, needs=("text", "label"))]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_quotes_commas_and_lines_inside_fields(tmp_path: Path, end: str) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(as_csv(ROWS, end))
    assert read(path) == ROWS
    path.write_bytes(b"\xef\xbb\xbf" + as_csv(ROWS, end).removesuffix(end.encode()))
    assert read(path) == ROWS


@given(rows=st.lists(st.tuples(field, field), min_size=1, max_size=7))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]) -> None:
    path = tmp_path_factory.mktemp("data") / "train.csv"
    path.write_bytes(as_csv(rows))
    assert read(path) == rows


def test_a_field_longer_than_the_library_expects(tmp_path: Path) -> None:
    before, long = csv.field_size_limit(), "word " * 100_000
    path = tmp_path / "train.csv"
    path.write_bytes(as_csv([(long, "x")]))
    assert read(path) == [(long, "x")]
    assert csv.field_size_limit() == before


def test_records_say_where_they_begin(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(b'text,label\n"one\ntwo",a\n\nthree,b\n')
    found = [record.where for record in read_records(path, needs=("text",))]
    assert found == [f"{path}, line 2", f"{path}, line 5"]


def test_fields_of_tsv_stand_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "train.tsv"
    path.write_text('label\ttext\nx\t"quoted" or "half\n', encoding="utf-8")
    assert read(path) == [('"quoted" or "half', "x")]


def test_files_are_found_by_name_and_read_by_ending(tmp_path: Path) -> None:
    (tmp_path / "my.csv.tsv").write_text("text\tlabel\na,b\tx\n", encoding="utf-8")
    assert find_records(tmp_path, "my.csv") == [tmp_path / "my.csv.tsv"]
    assert read(tmp_path / "my.csv.tsv") == [("a,b", "x")]


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"text,lable\na,b\n", ["no column 'label'", "columns text, lable", "did you mean 'lable'?"]),
        (b"text,label,text\na,b,c\n", ["more than one column 'text'"]),
        (
            b"text,label\na,b,c\n",
            ["line 2 has 3 fields, but the header has 2 (text, label): fields"],
        ),
        (b'text,label\na,b\n"a"b,c\n', ["line 3 is not CSV", "a quote in it is doubled"]),
        (b'text,label\na,b\n"never closed,c\nd,e\n', ["line 3 is not CSV"]),
        (b"text,label\n", ["has a header and no records"]),
        (b"text,label\n ,b\n", ["line 2: 'text' is empty"]),
        (b"", ["is empty"]),
        (b"text,label\nm\xfcde,b\n", ["line 2, byte 12 of the file is not UTF-8"]),
    ],
)
def test_csv_errors(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    path = tmp_path / "train.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, parts))):
        read(path)
