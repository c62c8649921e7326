"""What a model says of a file, a picture or a recording."""

from dataclasses import dataclass

from regard.decoding import Hypothesis


@dataclass(frozen=True, kw_only=True)
class Said:
    """A text of the file of this name, and how likely the model finds it."""

    name: str
    text: str
    hypothesis: Hypothesis

    def __str__(self) -> str:
        return f"{self.name}   {self.text}"

    @property
    def ranked(self) -> str:
        """The text behind its score, to stand among others."""
        return f"{self.name}   {self.hypothesis.score:8.3f}  {self.text}"

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {"text": self.text, "score": self.hypothesis.score}
