"""What a recognizer says of a recording."""

from dataclasses import dataclass

from regard.decoding import Hypothesis
from regard.tasks.speech.subtitles import Word, srt, vtt


@dataclass(frozen=True, kw_only=True)
class Output:
    """What was heard in a recording, and how likely the model finds it."""

    name: str
    text: str
    hypothesis: Hypothesis
    words: tuple[Word, ...] = ()

    def __str__(self) -> str:
        return f"{self.name}   {self.text}"

    @property
    def ranked(self) -> str:
        """The text behind its score, to stand among others."""
        return f"{self.name}   {self.hypothesis.score:8.3f}  {self.text}"

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "text": self.text,
            "score": self.hypothesis.score,
            "words": [{"text": word.text, "start": word.start, "end": word.end} for word in self.words],
        }

    def files(self) -> dict[str, bytes]:
        """What is written of it, by the endings of names: subtitles."""
        return {".srt": srt(self.words).encode(), ".vtt": vtt(self.words).encode()}
