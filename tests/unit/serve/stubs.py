"""Models of no weights, which answer at once, late, or never: what a service does is not a question of models."""

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from regard.data.pictures import read_picture
from regard.data.sounds import read_sound
from regard.decoding import Beam
from regard.explain.look import Look, Side, of_weights
from regard.explain.pieces import Piece
from regard.serve.model import Model
from regard.tasks.speech.subtitles import Word


@dataclass(frozen=True)
class Answer:
    text: str
    score: float = 0.5

    def record(self) -> dict[str, object]:
        return {"text": self.text, "score": self.score}

    def files(self) -> dict[str, bytes]:
        return {".txt": self.text.encode()}


def look(text: str) -> Look:
    pieces = tuple(Piece(text=word, starts=True) for word in text.split()) or (Piece(text="-", starts=True),)
    weights = torch.ones(1, len(pieces), len(pieces)) / len(pieces)
    layer = of_weights("layer", weights, queries="text", keys="text")
    return Look(title=text, sides=(Side(name="text", pieces=pieces),), layers=(layer,))


class Texts:
    """Turns texts around; one with `bad` in it is none that it reads, one with `broken` breaks it."""

    reads = "texts"
    recipe = SimpleNamespace(decoding=Beam())

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.options: list[Any] = []
        self.free = threading.Event()  # not set: it computes and computes
        self.free.set()

    def predict(
        self, texts: Sequence[str], options: Any = None, *, progress: Callable[[int, str], None] | None = None
    ) -> list[list[Answer]]:
        self.batches.append(list(texts))
        self.options.append(options)
        self.free.wait(30)
        for text in texts:
            if "bad" in text:
                raise ValueError(f"the text {text!r} is bad:\n  write another")
            if "broken" in text:
                raise RuntimeError("a secret of the inside")
        for number, text in enumerate(texts):
            for length in range(1, len(text) if progress else 0):
                assert progress is not None
                progress(number, text[::-1][:length])
        return [[Answer(text[::-1])] for text in texts]

    def look(self, text: str) -> Look:
        return look(text)


class Labels:
    """A model of texts that does not search."""

    reads = "texts"
    recipe = SimpleNamespace()

    def predict(self, texts: Sequence[str]) -> list[list[Answer]]:
        return [[Answer(str(len(text)))] for text in texts]

    def look(self, text: str) -> Look:
        return look(text)


class Pictures:
    """Says how large a picture is."""

    reads, draws = "pictures", True
    recipe = SimpleNamespace()

    def predict(self, files: Sequence[str]) -> Iterator[list[Answer]]:
        for path in files:
            width, height = read_picture(path).size
            yield [Answer(f"{Path(path).name}: {width} x {height}")]

    def look(self, file: str) -> Look:
        return look(Path(file).name)


class _Stream:
    """A word for every second."""

    def __init__(self, rate: int) -> None:
        self.rate, self.samples, self.seconds = rate, 0, 0

    def feed(self, sound: torch.Tensor) -> Iterator[Word]:
        self.samples += len(sound)
        while (self.seconds + 1) * self.rate <= self.samples:
            self.seconds += 1
            yield Word(text=f"word{self.seconds}", start=self.seconds - 1.0, end=float(self.seconds))

    def finish(self) -> Iterator[Word]:
        if self.samples > self.seconds * self.rate:
            yield Word(text="rest", start=float(self.seconds), end=self.samples / self.rate)


class Sounds:
    """Says how long a sound is."""

    reads, writes = "sounds", True
    recipe = SimpleNamespace(rate=8000, decoding=Beam())

    def predict(self, files: Sequence[str], options: Any = None) -> Iterator[list[Answer]]:
        for path in files:
            yield [Answer(f"{len(read_sound(path, 8000)) / 8000:g} s")]

    def stream(self, *, chunk: float, ahead: float) -> _Stream:
        return _Stream(8000)

    def look(self, file: str) -> Look:
        raise ValueError(f"{file} is longer than what is heard at a time: cut it")


def models() -> list[Model]:
    """One of each kind."""
    return [
        Model(name="turn", task="translation", predictor=Texts()),
        Model(name="count", task="sentiment", predictor=Labels()),
        Model(name="size", task="segmentation", predictor=Pictures()),
        Model(name="hear", task="speech", predictor=Sounds()),
    ]
