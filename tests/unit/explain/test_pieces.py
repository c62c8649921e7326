import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.explain.pieces import read, sentence, visible

anything = st.text(st.characters(exclude_categories=[]), max_size=7)  # halves of surrogate pairs included


def test_words_start_at_the_marker_and_end_is_no_word() -> None:
    pieces = read(["▁Ein", "▁Hun", "d", ".", "</s>"])
    assert [piece.text for piece in pieces] == ["Ein", "Hun", "d", ".", "END"]
    assert [piece.starts for piece in pieces] == [True, True, False, False, True]
    assert [piece.label for piece in pieces] == ["Ein", "Hun", "·d", ".", "END"]
    assert [piece.special for piece in pieces] == [False, False, False, False, True]
    assert sentence(pieces) == "Ein Hund. END"


def test_only_the_last_piece_is_end() -> None:
    assert [piece.text for piece in read(["</s>", "▁a"])] == ["</s>", "a"]
    assert not read(["▁</s>"])[0].special


def test_the_marker_is_the_tokenizers() -> None:
    assert [piece.starts for piece in read(["_a", "b", "_c"], marker="_")] == [True, False, True]
    assert sentence(read(["_a", "b", "_c"], marker="_")) == "ab c"


def test_without_a_marker_every_piece_is_a_word() -> None:
    assert sentence(read(["two", "men", "stop"], marker="", end="stop")) == "two men END"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("", "␣"),
        ("  ", "␣"),
        ("\u200b", "␣"),
        ("\n", "␊"),
        ("a\x00b", "a␀b"),
        ("\x7f", "␡"),
        ("\x85", "\ufffd"),
        ("\ud800", "\ufffd"),
        ("\u202eab", "\ufffdab"),
        ("é", "é"),
        ("می\u200cخواهم", "می\u200cخواهم"),
    ],
)
def test_every_character_can_be_seen(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.lists(anything, min_size=1, max_size=5))
def test_any_piece_can_be_read_and_written(pieces: list[str]) -> None:
    readable = read(pieces)
    assert len(readable) == len(pieces)
    assert readable[0].starts
    for piece in readable:
        assert piece.text.strip()
        piece.label.encode("utf-8")
