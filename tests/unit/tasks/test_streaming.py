"""Streams write what is heard at once, late by no more than they say, in the memory of a window."""

import pytest
import torch
from torch import Tensor

from regard.models.tokens import BLANK
from regard.tasks.speech.streaming import Stream
from regard.tasks.speech.subtitles import Word

RATE, POSITION = 100, 10  # ten positions a second
TEXT = "AB C  DEF"
TOKENS = " ABCDEF"


def sound_of(text: str) -> Tensor:
    """Two positions of each character's number, and four of nothing behind it."""
    samples = []
    for character in text:
        samples += [4.0 + TOKENS.index(character)] * 2 * POSITION + [0.0] * 4 * POSITION
    return torch.tensor(samples)


class Ear:
    """Hears the number of a position, and how much sound it was given at most."""

    def __init__(self) -> None:
        self.most = 0

    def __call__(self, sound: Tensor) -> Tensor:
        self.most = max(self.most, len(sound))
        numbers = torch.nn.functional.pad(sound, (0, -len(sound) % POSITION)).view(-1, POSITION)[:, 0].long()
        return torch.nn.functional.one_hot(numbers, 20).float()


def spell(tokens: list[int]) -> str:
    return "".join(TOKENS[token - 4] for token in tokens)


def stream(ear: Ear, **options: float) -> Stream:
    settings = {"chunk": 0.5, "behind": 1.0, "ahead": 0.3, **options}
    return Stream(ear, spell, lambda token: TOKENS[token - 4] == " ", rate=RATE, position=POSITION, **settings)


@pytest.mark.parametrize("piece", [7, 50, 10_000])
@pytest.mark.parametrize("chunk", [0.1, 0.5, 3.0])
def test_words_and_their_seconds_however_the_sound_comes(piece: int, chunk: float) -> None:
    sound, ear = sound_of(TEXT), Ear()
    one = stream(ear, chunk=chunk)
    words = [word for start in range(0, len(sound), piece) for word in one.feed(sound[start : start + piece])]
    words += one.finish()
    assert words == [
        Word(text="AB", start=0.0, end=0.8),
        Word(text="C", start=1.8, end=2.0),
        Word(text="DEF", start=3.6, end=5.0),
    ]


def test_memory_is_that_of_a_window() -> None:
    ear = Ear()
    one = stream(ear)
    for _ in range(50):
        list(one.feed(sound_of(TEXT)))
    list(one.finish())
    assert ear.most <= (1.0 + 0.5 + 0.3) * RATE


def test_a_word_comes_no_later_than_told() -> None:
    """The label of a sound is there `latency` seconds after it; a word is, when the next has begun."""
    sound, one = sound_of("AB C"), stream(Ear())
    assert one.latency == pytest.approx(0.8)
    given = 0
    for start in range(0, len(sound), POSITION):
        given += POSITION
        if list(one.feed(sound[start : start + POSITION])):
            break
    begun = 1.2  # of the space that ends the first word
    assert given / RATE <= begun + one.latency + POSITION / RATE


def test_a_pause_ends_a_word() -> None:
    one = stream(Ear())
    words = list(one.feed(torch.cat((sound_of("AB"), torch.zeros(3 * RATE)))))
    assert [word.text for word in words] == ["AB"]
    assert list(one.finish()) == []
    hasty = stream(Ear(), pause=0.2)  # where the two are 0.4 seconds apart
    assert [word.text for word in [*hasty.feed(sound_of("AB")), *hasty.finish()]] == ["A", "B"]


def test_silence_says_nothing() -> None:
    one = stream(Ear())
    assert [*one.feed(torch.full((500,), float(BLANK))), *one.finish()] == []
    assert list(stream(Ear()).finish()) == []


def test_seconds_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="chunk is more than 0 seconds, behind, ahead and pause are 0 or more; got 0"):
        stream(Ear(), chunk=0.0)
