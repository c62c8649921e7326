import gzip
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.data.lines import read_lines
from regard.data.parallel import ParallelText, read_parallel

ENGLISH = ["A dog runs.", "Two men \u2028 talk.", "It\x0bis\x85late.", "  <s> & \u2581 ", '"quoted"']
GERMAN = ["Ein Hund läuft.", "Zwei Männer\u2029 reden.", "Es ist\x1espät.", "e\u0301 is not \u00e9", "x"]

sentence = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\r\t")).filter(
    lambda text: text.strip() and not text.startswith("\ufeff")
)


def text(lines: list[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode()


def write(folder: Path, **files: bytes) -> Path:
    """Files by name, with "__" for the dots."""
    for name, content in files.items():
        packed = gzip.compress(content) if name.endswith("__gz") else content
        (folder / name.replace("__", ".")).write_bytes(packed)
    return folder


def read(folder: Path) -> ParallelText:
    return read_parallel(folder, "train", source="en", target="de")


def as_tsv(english: list[str], german: list[str]) -> bytes:
    return text(["id\tde\ten", *(f"7\t{de}\t{en}" for en, de in zip(english, german, strict=True))])


def as_jsonl(english: list[str], german: list[str], *, nested: bool) -> bytes:
    pairs = [{"en": en, "de": de} for en, de in zip(english, german, strict=True)]
    return text([json.dumps({"translation": pair} if nested else pair, ensure_ascii=nested) for pair in pairs])


@pytest.mark.parametrize(
    "files",
    [
        {"train__en": text(ENGLISH), "train__de": text(GERMAN)},
        {"train__en__gz": text(ENGLISH), "train__de": text(GERMAN)},
        {"train__en": text(ENGLISH)[:-1], "train__de": text(GERMAN).replace(b"\n", b"\r\n")},
        {"train__en": b"\xef\xbb\xbf" + text(ENGLISH), "train__de": text(GERMAN)},
        {"train__tsv": as_tsv(ENGLISH, GERMAN)},
        {"train__tsv__gz": as_tsv(ENGLISH, GERMAN)},
        {"train__jsonl": as_jsonl(ENGLISH, GERMAN, nested=False)},
        {"train__jsonl__gz": as_jsonl(ENGLISH, GERMAN, nested=True)},
        {"train__jsonl": as_jsonl(ENGLISH, GERMAN, nested=True), "train__en": text(ENGLISH)},
    ],
    ids=["text", "gz", "windows", "marked", "tsv", "tsv.gz", "jsonl", "nested", "beside-half-of-another"],
)
def test_every_format_gives_the_same_pairs(tmp_path: Path, files: dict[str, bytes]) -> None:
    pairs = read(write(tmp_path, valid__en=b"", **files))
    assert pairs.sources == ENGLISH
    assert pairs.targets == GERMAN
    assert len(pairs) == 5
    assert str(tmp_path) in pairs.source_name


@given(pairs=st.lists(st.tuples(sentence, sentence), min_size=1, max_size=7))
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]) -> None:
    english, german = [en for en, _ in pairs], [de for _, de in pairs]
    for files in (
        {"train__en": text(english), "train__de": text(german)},
        {"train__tsv": as_tsv(english, german)},
        {"train__jsonl": as_jsonl(english, german, nested=True)},
    ):
        found = read(write(tmp_path_factory.mktemp("data"), **files))
        assert (found.sources, found.targets) == (english, german)


def refuses(folder: Path, *parts: str) -> None:
    """Reading the folder is an error that holds all the parts, in their order."""
    with pytest.raises(ValueError, match="(?s)" + ".*".join(map(re.escape, parts))):
        read(folder)


def test_unequal_numbers_of_lines(tmp_path: Path) -> None:
    write(tmp_path, train__en=text(ENGLISH), train__de=text(GERMAN[:3]))
    refuses(tmp_path, "train.en has 5 lines", "train.de has 3", "line N")
    write(tmp_path, train__de=text([*GERMAN, ""]))
    refuses(tmp_path, "train.en has 5 lines", "train.de has 6")
    with pytest.raises(ValueError, match="the sources has 2 lines, but the targets has 1"):
        ParallelText(["a", "b"], ["c"])


def test_empty_lines(tmp_path: Path) -> None:
    write(tmp_path, train__en=text(ENGLISH), train__de=b"a\n \nb\n\t\r\nc\n")
    refuses(tmp_path, "train.de, line 2 is empty, and 1 more: 4;")


def test_empty_file(tmp_path: Path) -> None:
    write(tmp_path, train__en=text(ENGLISH), train__de__gz=b"")
    refuses(tmp_path, "train.de.gz is empty")


def test_broken_utf8(tmp_path: Path) -> None:
    write(tmp_path, train__en=text(ENGLISH), train__de="gut\nschön\nja\n".encode("latin1"))
    refuses(tmp_path, "train.de, line 2, byte 7 of the file is not UTF-8: sch\\xf6n", "iconv -f LATIN1 -t UTF-8")
    write(tmp_path, train__de="gut\n".encode("utf-16"))
    refuses(tmp_path, "train.de, line 1, byte 0", "iconv -f UTF-16 -t UTF-8")


def test_damaged_gzip(tmp_path: Path) -> None:
    write(tmp_path, train__en=text(ENGLISH), train__de__gz=text(GERMAN))
    packed = tmp_path / "train.de.gz"
    whole = packed.read_bytes()
    packed.write_bytes(whole[:-9])
    refuses(tmp_path, "train.de.gz cannot be unpacked after line", "cut off or damaged")
    packed.write_bytes(text(GERMAN))
    refuses(tmp_path, "train.de.gz cannot be unpacked after line 0", "Not a gzipped file")
    packed.write_bytes(whole[:20] + bytes(byte ^ 255 for byte in whole[20:30]) + whole[30:])
    refuses(tmp_path, "train.de.gz cannot be unpacked")


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"id\teng\tde\n1\ta\tb\n", ["no column 'en'", "columns id, eng, de", "did you mean 'eng'?"]),
        (b"en\ten\tde\na\tb\tc\n", ["more than one column 'en'"]),
        (b"en\tde\na\tb\nc\n", ["line 3 has 1 fields, but the header has 2 (en, de)"]),
        (b"en\tde\na\tb\nc\t\n", ["train.tsv, line 3: 'de' is empty"]),
        (b"en\tde\n", ["train.tsv has a header and no records"]),
        (b"", ["train.tsv is empty"]),
    ],
)
def test_tsv_errors(tmp_path: Path, content: bytes, parts: list[str]) -> None:
    refuses(write(tmp_path, train__tsv=content), *parts)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        (b'{"en": "a", "de": "b"', ["line 2 is not JSON", "Expecting"]),
        (b"[" * 100_000, ["line 2 is not JSON"]),
        (b"", ["line 2 is not JSON"]),
        (b'["a", "b"]', ["line 2 must be an object like", '"en"', '["a", "b"]']),
        (b'{"en": "a", "dee": "b"}', ["line 2 has no key 'de'; its keys are en, dee; did you mean 'dee'?"]),
        (b'{"translation": {"en": "a"}}', ["line 2 has no key 'de'; its keys are en"]),
        (b'{"en": "a", "de": null}', ["line 2: 'de' must be a text, not null"]),
        (b'{"en": "a", "de": " "}', ["line 2: 'de' is empty"]),
        (b'{"en": "a", "de": "b\\ud83d"}', ["line 2: 'de' holds half of a character", "'b\\ud83d'"]),
    ],
)
def test_jsonl_errors(tmp_path: Path, line: bytes, parts: list[str]) -> None:
    refuses(write(tmp_path, train__jsonl=b'{"en": "a", "de": "b"}\n' + line + b"\n"), "train.jsonl, ", *parts)


def test_several_formats_match(tmp_path: Path) -> None:
    write(tmp_path, train__en=b"a\n", train__en__gz=b"a\n", train__de=b"b\n", train__tsv=b"en\tde\na\tb\n")
    refuses(tmp_path, "'train' more than once (train.en with train.de; train.en.gz with train.de; train.tsv)")


def test_nothing_matches(tmp_path: Path) -> None:
    looked = "no 'train': looked for train.en with train.de, train.csv, train.tsv and train.jsonl"
    refuses(tmp_path, looked, "holds nothing")
    write(tmp_path, trian__en=b"a\n", trian__de=b"b\n", notes=b"")
    refuses(tmp_path, "holds notes, trian.de, trian.en; did you mean trian.en, trian.de?")
    write(tmp_path, train__en=b"a\n")
    refuses(tmp_path, "has train.en but no train.de")


def test_a_wrong_folder_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "multi30k").mkdir()
    refuses(tmp_path / "mutli30k", "mutli30k is not a folder; did you mean 'multi30k'?")
    with pytest.raises(ValueError, match="source and target are both 'de'"):
        read_parallel(tmp_path, "train", source="de", target="de")


def test_read_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, story__txt=text(ENGLISH), packed__gz=text(GERMAN))
    assert read_lines(tmp_path / "story.txt") == ENGLISH
    assert read_lines(str(tmp_path / "packed.gz")) == GERMAN
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text(GERMAN))))
    assert read_lines("-") == GERMAN
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"a\n\n")))
    with pytest.raises(ValueError, match="standard input, line 2 is empty"):
        read_lines("-")
    with pytest.raises(ValueError, match=r"there is no file .*storry.txt; did you mean 'story.txt'\?"):
        read_lines(tmp_path / "storry.txt")
    with pytest.raises(ValueError, match="is a folder, not a text file"):
        read_lines(tmp_path)
