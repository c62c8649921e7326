"""Subtitles as players read them."""

from regard.tasks.speech.subtitles import Word, lines, srt, vtt

WORDS = [
    Word(text="GOOD", start=0.4, end=0.8),
    Word(text="<MORNING>", start=0.9, end=1.5),
    Word(text="AGAIN", start=3671.25, end=3671.999),
]


def test_words_become_lines_that_end_with_a_pause() -> None:
    assert [(line.text, line.start, line.end) for line in lines(WORDS)] == [
        ("GOOD <MORNING>", 0.4, 1.5),
        ("AGAIN", 3671.25, 3671.999),
    ]


def test_lines_are_neither_too_wide_nor_too_long() -> None:
    words = [Word(text="WORD" * 3, start=0.5 * number, end=0.5 * number + 0.4) for number in range(40)]
    found = lines(words)
    assert all(len(line.text) <= 42 and line.end - line.start <= 6.0 for line in found)
    assert " ".join(line.text for line in found) == " ".join(word.text for word in words)


def test_srt() -> None:
    assert srt(WORDS) == (
        "1\n00:00:00,400 --> 00:00:01,500\nGOOD <MORNING>\n\n2\n01:01:11,250 --> 01:01:11,999\nAGAIN\n\n"
    )
    assert srt([]) == ""


def test_vtt() -> None:
    assert vtt(WORDS[:2]) == "WEBVTT\n\n00:00:00.400 --> 00:00:01.500\nGOOD &lt;MORNING&gt;\n\n"
