"""A model that is served: what it is called, what it reads, and what can be asked of it."""

import json
import tempfile
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from regard.decoding import Beam, Greedy, Sampling
from regard.explain import Look, draw, page
from regard.serve.worker import Call
from regard.tasks.computing import computing
from regard.tasks.registry import look_with
from regard.training.options import Precision

Form = Literal["json", "html", "png"]
Options = Greedy | Beam | Sampling
EXAMPLES = {
    "translation": "a small dog runs across the grass",
    "summarization": "Anna: are you coming tonight? Ben: yes, at eight. Anna: great, bring the cake.",
    "sentiment": "the acting was never dull, but the plot was hardly good",
}
Told = Callable[[str], None]  # of a text: all of it that is written so far


@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A trained model under a name.

    Args:
        name: of letters, digits, points, dashes and underscores, for it stands in addresses.
        task: what it does, such as "translation".
        predictor: what `load` of a task's package gives.
        precision: that it computes in.
    """

    name: str
    task: str
    predictor: Any
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        if not self.name or not all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in self.name):
            raise ValueError(
                f"the model's name {self.name!r} stands in addresses, and so has letters, digits, points, dashes and "
                "underscores: give another, NAME=RUN"
            )

    @property
    def reads(self) -> str:
        """What an input is: "texts", "pictures" or "sounds"."""
        return str(self.predictor.reads)

    @property
    def example(self) -> str | None:
        """A text to try."""
        return EXAMPLES.get(self.task)

    @property
    def searches(self) -> bool:
        """Whether there is a choice of how to search."""
        return hasattr(self.predictor.recipe, "decoding")

    @property
    def streams(self) -> bool:
        """Whether it can say what it has so far."""
        return self.reads == "sounds" or (self.reads == "texts" and self.searches)

    @property
    def files(self) -> bool:
        """Whether its outputs have files."""
        return any(getattr(self.predictor, name, False) for name in ("draws", "writes"))

    def predict(self, options: Options | None) -> Call:
        """The outputs of each input, a text or the path of a file."""

        def run(inputs: list[Any]) -> list[Any]:
            return list(self.predictor.predict([str(one) for one in inputs], **self._search(options)))

        return self._call("predict", options, run)

    def write(self, options: Options) -> Call:
        """The same of texts, each with what is told while it is written."""

        def run(inputs: list[tuple[str, Told]]) -> list[Any]:
            texts, told = zip(*inputs, strict=True)

            def progress(number: int, so_far: str) -> None:
                told[number](so_far)

            return list(self.predictor.predict(list(texts), progress=progress, **self._search(options)))

        return self._call("write", options, run)

    def look(self, form: Form, strongest: int) -> Call:
        """What the model attended to while it read an input, as the bytes of this form."""

        def run(inputs: list[Any]) -> list[bytes]:
            return [self._shown(look_with(self.predictor, str(one)), form, strongest) for one in inputs]

        return self._call("look", (form, strongest), run)

    def feed(self, step: Callable[[Any], Sequence[Any]]) -> Call:
        """A step of a stream of its own, which nothing else can be run together with."""
        return self._call("feed", object(), lambda inputs: [step(one) for one in inputs])

    def _call(self, verb: str, options: Hashable, run: Callable[[list[Any]], Sequence[Any]]) -> Call:
        def computed(inputs: list[Any]) -> Sequence[Any]:
            with computing(self.predictor, self.precision):
                return run(inputs)

        return Call(model=self.name, verb=verb, options=options, run=computed)

    def _search(self, options: Options | None) -> dict[str, Options]:
        return {} if options is None else {"options": options}

    def _shown(self, look: Look, form: Form, strongest: int) -> bytes:
        if form == "html":
            return page([look], title=look.title or self.name).encode()
        if form == "png":
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "look.png"
                draw(look, path)
                return path.read_bytes()
        return json.dumps(look.record(strongest=strongest), ensure_ascii=False, allow_nan=False).encode()
