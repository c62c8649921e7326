"""What a recognizer says of a recording."""

from dataclasses import dataclass

from regard.tasks.said import Said
from regard.tasks.speech.subtitles import Word, srt, vtt


@dataclass(frozen=True, kw_only=True)
class Output(Said):
    """What was heard in a recording, how likely the model finds it, and when each word was said."""

    words: tuple[Word, ...] = ()

    def record(self) -> dict[str, object]:
        """The same for programs."""
        words = [{"text": word.text, "start": word.start, "end": word.end} for word in self.words]
        return {**super().record(), "words": words}

    def files(self) -> dict[str, bytes]:
        """What is written of it, by the endings of names: subtitles."""
        return {".srt": srt(self.words).encode(), ".vtt": vtt(self.words).encode()}
