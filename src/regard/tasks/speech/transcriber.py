"""Writing down what is said in recordings, with a trained model, and when each word is said."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regard.data.recorded import Recorded, read_recorded, survey_recorded
from regard.data.sounds import read_sound
from regard.data.tokenizer import Tokenizers
from regard.decoding import Beam, Greedy, Hypothesis, Sampling, search
from regard.decoding.ctc import ctc_align, ctc_greedy
from regard.decoding.joint import Joint
from regard.explain.pieces import read
from regard.models.recognizer import Recognizer
from regard.nn.conformer import quarter
from regard.tasks.evaluation import Evaluation
from regard.tasks.speech import metrics
from regard.tasks.speech.recipe import Recipe
from regard.training import RunDirectory

_TOGETHER = 16  # recordings that are heard at a time
_SHRINKS = 4  # frames of a position


@dataclass(frozen=True, kw_only=True)
class Word:
    """A word, and when it is said, in seconds."""

    text: str
    start: float
    end: float


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


class Transcriber:
    """A trained model with its tokenizer; reads weights, sounds and plain text files, executes nothing."""

    def __init__(self, model: Recognizer, tokenizers: Tokenizers, recipe: Recipe) -> None:
        self.model, self.tokenizer, self.recipe, self.front = model.eval(), tokenizers.target, recipe, recipe.front

    def predict(self, files: Sequence[str], options: Greedy | Beam | Sampling | None = None) -> Iterator[list[Output]]:
        """What is said in each recording, best first, by `options` or as the recipe says; `Greedy` takes the likeliest
        label of each position.

        Raises:
            ValueError: a recording that cannot be read, or is shorter than a frame, when its turn comes.
        """
        for start in range(0, len(files), _TOGETHER):
            some = files[start : start + _TOGETHER]
            heard = [self._features(read_sound(path, self.recipe.rate), path) for path in some]
            for path, found in zip(some, self._search(heard, options), strict=True):
                yield [
                    Output(
                        name=Path(path).name,
                        text=self.tokenizer.decode(hypothesis.tokens),
                        hypothesis=hypothesis,
                        words=self._words(labels, hypothesis),
                    )
                    for hypothesis, labels in found
                ]

    def transcribe(self, recorded: Recorded, options: Greedy | Beam | Sampling | None = None) -> list[str]:
        """What is said in each."""
        texts = []
        for start in range(0, len(recorded), _TOGETHER):
            places = range(start, min(start + _TOGETHER, len(recorded)))
            heard = [
                self._features(recorded.sound(place, self.recipe.rate), recorded.utterances[place].name)
                for place in places
            ]
            texts += [self.tokenizer.decode(found[0][0].tokens) for found in self._search(heard, options)]
        return texts

    def evaluate(
        self,
        *,
        data: str | None = None,
        split: str | None = None,
        options: Greedy | Beam | Sampling | None = None,
    ) -> Evaluation:
        """Every metric of the field on the recordings `split` of the folder `data`; as in the recipe, if not given."""
        files = self.recipe.files
        found = find(self.recipe, split or files.test, data=data)
        recorded, _, problems = survey_recorded(
            found,
            rate=self.recipe.rate,
            shortest=self.front.window / self.front.rate,
            longest=float("inf"),
            skip=files.broken == "skip",
        )
        outputs, references = self.transcribe(recorded, options), recorded.texts()
        left = "".join(f"\nleft out: {problem}" for problem in (*recorded.odd, *problems))
        return Evaluation(
            scores=metrics.all_scores(outputs, references),
            outputs=outputs,
            table=metrics.table(outputs, references) + left,
        )

    def _features(self, sound: Float[Tensor, " samples"], name: str) -> Float[Tensor, "frames bands"]:
        features = self.front(sound)
        if not len(features):
            raise ValueError(
                f"{name} has {len(sound) / self.recipe.rate:.3f} seconds, shorter than one frame "
                f"({self.front.window / self.front.rate:g})"
            )
        return features

    def _search(
        self, heard: Sequence[Float[Tensor, "_frames bands"]], options: Greedy | Beam | Sampling | None
    ) -> list[list[tuple[Hypothesis, Float[Tensor, "_length vocabulary"]]]]:
        """The hypotheses of each recording, each with the labels of its positions."""
        options = self.recipe.decoding if options is None else options
        device = self.model.output_weight.device
        features = pad_sequence(list(heard), batch_first=True).to(device)
        frames = torch.tensor([len(one) for one in heard], device=device)
        lengths = quarter(frames)
        with torch.no_grad():
            labels = self.model.frame_labels(self.model.encoder(features, frames))
        if isinstance(options, Greedy):
            hypotheses = [
                [likeliest(row[:length], tokens)]
                for row, length, tokens in zip(labels, lengths.tolist(), ctc_greedy(labels, lengths), strict=True)
            ]
        else:
            hypotheses = search(Joint(self.model, self.recipe.decoding_ctc), features, frames, options)
        return [
            [(one, row[:length].cpu()) for one in of_one]
            for of_one, row, length in zip(hypotheses, labels, lengths.tolist(), strict=True)
        ]

    def _words(self, labels: Float[Tensor, "length vocabulary"], hypothesis: Hypothesis) -> tuple[Word, ...]:
        """When each word is said: from the first position of its first token to the last of its last one."""
        tokens = list(hypothesis.tokens)
        try:
            spans, _ = ctc_align(labels, tokens)
        except ValueError:  # more was written than can have been said
            return ()
        seconds = _SHRINKS * self.front.step / self.front.rate
        words: list[Word] = []
        for piece, (first, behind) in zip(read(self.tokenizer.tokens(tokens)), spans, strict=True):
            start, end = round(first * seconds, 3), round(behind * seconds, 3)
            if piece.starts or not words:
                words.append(Word(text=piece.text.strip(), start=start, end=end))
            else:
                words[-1] = Word(text=words[-1].text + piece.text, start=words[-1].start, end=end)
        return tuple(word for word in words if word.text)

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "Transcriber":
        """The transcriber of a run whose recipe has been read."""
        tokenizers = Tokenizers.load(run.tokenizer_path)
        model = recipe.model.build(len(tokenizers.target), recipe.bands)
        run.load_weights(model)
        return cls(model, tokenizers, recipe)


def likeliest(labels: Float[Tensor, "length vocabulary"], tokens: Sequence[int]) -> Hypothesis:
    """What the likeliest label of each position says, scored by the log-probability of these labels."""
    score = float(labels.amax(-1).sum())
    return Hypothesis(tokens=tuple(tokens), score=score, log_probability=score, finished=True, rows=())


def find(recipe: Recipe, split: str, *, data: str | None = None) -> Recorded:
    """The recordings of a split."""
    return read_recorded(data or recipe.data, split, audio=recipe.files.audio, text=recipe.files.text)
