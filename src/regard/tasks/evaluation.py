"""What measuring a model found: its field's metrics, the outputs they come from, and pictures of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Score:
    """A metric's value, and how to reproduce it."""

    name: str
    value: float
    signature: str

    def __str__(self) -> str:
        return f"{self.name:<34} {self.value:6.2f}   {self.signature}"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The metrics of a model on a data set.

    Args:
        scores: every metric that results are published in.
        outputs: what the model said, a line for each input.
        table: more that a person wants to read, under the scores.
        pictures: PNGs by their names.
    """

    scores: list[Score]
    outputs: list[str]
    table: str = ""
    pictures: dict[str, bytes] = field(default_factory=dict)
