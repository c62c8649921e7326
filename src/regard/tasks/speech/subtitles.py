"""Words with their seconds as subtitles: SubRip (.srt) and WebVTT (.vtt)."""

from collections.abc import Sequence
from dataclasses import dataclass

_WIDEST, _LONGEST, _PAUSE = 42, 6.0, 0.8  # characters and seconds of a line, and a silence that ends one


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word, and when it is said, in seconds."""

    text: str
    start: float
    end: float


def lines(words: Sequence[Word]) -> list[Word]:
    """Words joined to lines that can be read while they are said."""
    found: list[Word] = []
    for word in words:
        last = found[-1] if found else None
        if (
            last is None
            or word.start - last.end > _PAUSE
            or word.end - last.start > _LONGEST
            or len(last.text) + 1 + len(word.text) > _WIDEST
        ):
            found.append(word)
        else:
            found[-1] = Word(text=f"{last.text} {word.text}", start=last.start, end=word.end)
    return found


def srt(words: Sequence[Word]) -> str:
    """SubRip: numbered lines, milliseconds behind a comma."""
    return "".join(
        f"{number}\n{_clock(line.start, ',')} --> {_clock(line.end, ',')}\n{line.text}\n\n"
        for number, line in enumerate(lines(words), start=1)
    )


def vtt(words: Sequence[Word]) -> str:
    """WebVTT; what its syntax would read as marks is escaped."""
    body = "".join(
        f"{_clock(line.start, '.')} --> {_clock(line.end, '.')}\n{_escaped(line.text)}\n\n" for line in lines(words)
    )
    return f"WEBVTT\n\n{body}"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _clock(seconds: float, point: str) -> str:
    whole = round(1000 * seconds)
    minutes, milliseconds = divmod(whole, 60_000)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{milliseconds // 1000:02d}{point}{milliseconds % 1000:03d}"
