"""Writing down speech while it is spoken: in chunks, each heard with some seconds before it and a little after it."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float
from torch import Tensor

from regard.models.tokens import BLANK
from regard.tasks.speech.subtitles import Word

Hear = Callable[[Float[Tensor, " samples"]], Float[Tensor, "positions vocabulary"]]
Spell = Callable[[list[int]], str]
Starts = Callable[[int], bool]


class Stream:
    """What is said in a sound that is still coming in, by the likeliest label of each position (CTC).

    A chunk is heard once `chunk + ahead` seconds of sound are there, together with `behind` seconds before it: a word
    is written `latency` seconds after it was said at the latest, and when the next word has begun or nobody speaks.
    Memory is that of one such window, however long the sound.

    Args:
        hear: labels of a piece of sound.
        spell: the text of tokens.
        starts: whether a word begins with a token.
        rate: samples a second.
        position: samples of a position.
        chunk, behind, ahead: seconds.
        pause: seconds of nothing that end a word, as the beginning of the next word does.
    """

    def __init__(
        self,
        hear: Hear,
        spell: Spell,
        starts: Starts,
        *,
        rate: int,
        position: int,
        chunk: float = 1.0,
        behind: float = 5.0,
        ahead: float = 0.5,
        pause: float = 0.6,
    ) -> None:
        if chunk <= 0.0 or min(behind, ahead, pause) < 0.0:
            raise ValueError(
                "chunk is more than 0 seconds, behind, ahead and pause are 0 or more; "
                f"got {chunk}, {behind}, {ahead} and {pause}"
            )
        self._hear, self._spell, self._starts, self._rate, self._position = hear, spell, starts, rate, position
        self._chunk, self._behind, self._ahead = (
            max(least, round(seconds * rate / position)) for seconds, least in ((chunk, 1), (behind, 0), (ahead, 0))
        )
        self._pause = pause * rate / position
        self._sound = torch.zeros(0)  # from position `_first` on
        self._first, self._done = 0, 0  # positions
        self._word: list[int] = []
        self._from, self._to = 0, 0  # positions of the word
        self._last = BLANK

    @property
    def latency(self) -> float:
        """Seconds from a sound to the labels of it, at most; computing comes on top."""
        return (self._chunk + self._ahead) * self._position / self._rate

    def feed(self, sound: Float[Tensor, " samples"]) -> Iterator[Word]:
        """Take more sound, and give the words that are complete."""
        self._sound = torch.cat((self._sound, sound))
        while self._first + len(self._sound) // self._position >= self._done + self._chunk + self._ahead:
            yield from self._advance(self._chunk, self._ahead)

    def finish(self) -> Iterator[Word]:
        """The words that are left when no more comes."""
        left = self._first + -(-len(self._sound) // self._position) - self._done
        if left > 0:
            yield from self._advance(left, 0)
        yield from self._complete()

    def _advance(self, count: int, ahead: int) -> Iterator[Word]:
        """Hear the next `count` positions."""
        before = self._done - self._first
        labels = self._hear(self._sound[: (before + count + ahead) * self._position])
        for number, label in enumerate(labels[before : before + count].argmax(-1).tolist()):
            yield from self._read(self._done + number, label)
        self._done += count
        first = max(0, self._done - self._behind)
        self._sound = self._sound[(first - self._first) * self._position :]
        self._first = first

    def _read(self, place: int, label: int) -> Iterator[Word]:
        """The label of one position."""
        if label != BLANK and label != self._last:
            if self._starts(label):
                yield from self._complete()
            if not self._word or not self._spell(self._word).strip():
                self._from = place
            self._word.append(label)
        if label != BLANK:
            self._to = place + 1
        elif place - self._to > self._pause:
            yield from self._complete()
        self._last = label

    def _complete(self) -> Iterator[Word]:
        text = self._spell(self._word).strip() if self._word else ""
        self._word = []
        if text:
            start, end = (round(place * self._position / self._rate, 3) for place in (self._from, self._to))
            yield Word(text=text, start=start, end=end)
