"""Writing down what is said in recordings, with a trained model, and when each word is said."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from regard.attention import Weights, watch
from regard.data.recorded import Recorded
from regard.data.sounds import read_sound, to_flac
from regard.data.tokenizer import SPACE, Tokenizers
from regard.decoding import Beam, Greedy, Hypothesis, Sampling, search
from regard.decoding.ctc import ctc_align, ctc_greedy
from regard.decoding.joint import Joint
from regard.explain.look import Grid, Look, Side, of_weights, records
from regard.explain.pieces import Piece, read
from regard.explain.spectrogram import spectrogram_png
from regard.models.device import device_of
from regard.models.ngram import NGram
from regard.models.recognizer import Recognizer
from regard.models.speller import Listener
from regard.models.tokens import BLANK, END, START
from regard.nn.conformer import SHRINKS
from regard.tasks.evaluation import Evaluation
from regard.tasks.speech.evaluation import evaluate
from regard.tasks.speech.output import Output
from regard.tasks.speech.parts import cut_at_pauses, heard_in_windows
from regard.tasks.speech.recipe import Recipe
from regard.tasks.speech.streaming import Stream
from regard.tasks.speech.subtitles import Word
from regard.training import RunDirectory
from regard.training.programs import Exported

_TOGETHER = 16  # recordings that are heard at a time
_SOUND, _TEXT, _SO_FAR, _LABELS = "sound", "text", "so far", "labels (CTC)"


class Transcriber:
    """A trained model with its tokenizer; reads weights, sounds and plain text files, executes nothing."""

    reads = "sounds"
    writes = True  # its outputs have files, for those who name a folder

    def __init__(
        self, model: Recognizer | Exported, tokenizers: Tokenizers, recipe: Recipe, language: NGram | None = None
    ) -> None:
        self.model: Any = model.eval()
        self.tokenizers, self.recipe, self.front = tokenizers, recipe, recipe.front
        self.tokenizer, self.language = tokenizers.target, language

    def predict(self, files: Sequence[str], options: Greedy | Beam | Sampling | None = None) -> Iterator[list[Output]]:
        """What is said in each recording, best first, by `options` or as the recipe says; `Greedy` takes the likeliest
        label of each position. A recording longer than those of training is cut where nobody speaks.

        Raises:
            ValueError: a recording that cannot be read, or is shorter than a frame, when its turn comes.
        """
        for start in range(0, len(files), _TOGETHER):
            some = files[start : start + _TOGETHER]
            heard = [self._features(read_sound(path, self.recipe.rate), path) for path in some]
            for path, outputs in zip(some, self._written(heard, options), strict=True):
                yield [replace(output, name=Path(path).name) for output in outputs]

    def stream(self, *, chunk: float = 1.0, behind: float = 5.0, ahead: float = 0.5, pause: float = 0.6) -> Stream:
        """What writes down a sound that is still coming in; the arguments, in seconds, are those of `Stream`."""
        size = len(self.tokenizer)
        starts = [token.startswith(SPACE) for token in self.tokenizer.tokens(range(size))]

        def hear(sound: Tensor) -> Tensor:
            short = max(0, self.front.window - len(sound))  # of a whole frame
            return self._labels(self.front(torch.nn.functional.pad(sound, (0, short))))

        return Stream(
            hear,
            self.tokenizer.decode,
            starts.__getitem__,
            rate=self.recipe.rate,
            position=SHRINKS * self.front.step,
            chunk=chunk,
            behind=behind,
            ahead=ahead,
            pause=pause,
        )

    def transcribe(self, recorded: Recorded, options: Greedy | Beam | Sampling | None = None) -> list[str]:
        """What is said in each."""
        texts = []
        for start in range(0, len(recorded), _TOGETHER):
            places = range(start, min(start + _TOGETHER, len(recorded)))
            heard = [
                self._features(recorded.sound(place, self.recipe.rate), recorded.utterances[place].name)
                for place in places
            ]
            texts += [outputs[0].text for outputs in self._written(heard, options)]
        return texts

    def evaluate(
        self,
        *,
        data: str | None = None,
        split: str | None = None,
        options: Greedy | Beam | Sampling | None = None,
    ) -> Evaluation:
        """Every metric of the field on the recordings `split` of the folder `data`; as in the recipe, if not given."""
        shortest = self.front.window / self.front.rate
        return evaluate(
            self, self.recipe, data=data, split=split, options=options, rate=self.recipe.rate, shortest=shortest
        )

    def look(self, file: str) -> Look:
        """Write down a recording, and look at what each token attended to, and where CTC hears it."""
        sound = read_sound(file, self.recipe.rate)
        features = self._features(sound, file)
        if len(self._parts(features)) > 1:
            raise ValueError(
                f"{file} is longer than the {self.recipe.longest:g} seconds that are heard at a time: cut it"
            )
        best = replace(self.recipe.decoding, n_best=1)
        ((hypothesis, labels),) = self._search([features], best)[0]
        emitted = [*hypothesis.tokens, END]
        seconds = SHRINKS * self.front.step / self.front.rate
        heard = tuple(Piece(text=f"{place * seconds:.2f} s", starts=True) for place in range(len(labels)))
        said = read((*self.tokenizer.tokens(hypothesis.tokens), "</s>"))
        grid = Grid(
            png=spectrogram_png(features.T),
            rows=1,
            columns=len(labels),
            sound=to_flac(sound, self.recipe.rate),
            seconds=len(labels) * seconds,
        )
        sides = [Side(name=_SOUND, pieces=heard, grid=grid), Side(name=_TEXT, pieces=said)]
        spikes = of_weights(_LABELS, _spikes(labels, list(hypothesis.tokens)), queries=_TEXT, keys=_SOUND)
        device = device_of(self.model)
        given, frames = features[None].to(device), torch.tensor([len(features)], device=device)
        read_so_far = torch.tensor([[START, *emitted[:-1]]], device=device)
        if isinstance(self.model.encoder.layers[0], Listener):  # whose decoder attends once a token
            layers = []
            if self.model.decoder is not None:
                with torch.no_grad(), watch(self.model, Weights(), layers=["decoder"]) as seen:
                    self.model.both(given, frames, read_so_far)
                weights = seen.stitched("decoder").weights[0]
                layers.append(of_weights("decoder", weights, queries=_TEXT, keys=_SOUND))
            return Look(title=Path(file).name, sides=tuple(sides), layers=(*layers, spikes), score=hypothesis.score)
        attends = {"encoder.*": (_SOUND, _SOUND)}
        if self.model.decoder is not None:
            sides.append(Side(name=_SO_FAR, pieces=(Piece(text="START", starts=True, special=True), *said[:-1])))
            attends |= {"decoder.*.cross": (_TEXT, _SOUND), "decoder.*": (_TEXT, _SO_FAR)}
        longest = max(len(heard), len(said))
        with torch.no_grad(), watch(self.model, *records(longest), layers=list(attends)) as seen:
            self.model.both(given, frames, read_so_far)
        look = Look.of(seen, sides, attends, title=Path(file).name, score=hypothesis.score)
        return replace(look, layers=(*look.layers, spikes))

    def _features(self, sound: Float[Tensor, " samples"], name: str) -> Float[Tensor, "frames bands"]:
        features = self.front(sound)
        if not len(features):
            raise ValueError(
                f"{name} has {len(sound) / self.recipe.rate:.3f} seconds, shorter than one frame "
                f"({self.front.window / self.front.rate:g})"
            )
        return features

    def _written(
        self, heard: Sequence[Float[Tensor, "_frames bands"]], options: Greedy | Beam | Sampling | None
    ) -> list[list[Output]]:
        """What is said in each recording, best first; of one that is heard in parts, the best of each part together."""
        parts = [(number, *part) for number, features in enumerate(heard) for part in self._parts(features)]
        found: dict[tuple[int, int], list[Output]] = {}
        for some in _batches(sorted(parts, key=lambda part: part[2] - part[1])):
            searched = self._search([heard[number][start:end] for number, start, end in some], options)
            for (number, start, _), hypotheses in zip(some, searched, strict=True):
                found[number, start] = [self._output(*hypothesis, start) for hypothesis in hypotheses]
        together: list[list[list[Output]]] = [[] for _ in heard]
        for number, start, _ in parts:
            together[number].append(found[number, start])
        return [of_one[0] if len(of_one) == 1 else [_joined([best[0] for best in of_one])] for of_one in together]

    def _parts(self, features: Float[Tensor, "frames bands"]) -> list[tuple[int, int]]:
        """A recording as long as those of training in one part; a longer one cut where nobody speaks."""
        longest = int(self.recipe.longest * self.front.rate / self.front.step) // SHRINKS
        if len(features) <= SHRINKS * longest:
            return [(0, len(features))]

        window, overlap = SHRINKS * longest, SHRINKS * (longest // 5)
        labels = heard_in_windows(features, self._labels, window=window, overlap=overlap, shrinks=SHRINKS)
        parts = cut_at_pauses(labels.argmax(-1) == BLANK, longest)
        return [(SHRINKS * start, min(SHRINKS * end, len(features))) for start, end in parts]

    def _labels(self, features: Float[Tensor, "frames bands"]) -> Float[Tensor, "length vocabulary"]:
        """The labels of a recording that is heard at once."""
        frames = torch.tensor([len(features)], device=device_of(self.model))
        with torch.no_grad():
            return self.model.hear(features[None].to(frames.device), frames).labels[0].cpu()

    def _output(self, hypothesis: Hypothesis, labels: Float[Tensor, "length vocabulary"], start: int) -> Output:
        """What a hypothesis says of a part that begins at frame `start`."""
        later = start * self.front.step / self.front.rate
        words = tuple(
            Word(text=word.text, start=round(word.start + later, 3), end=round(word.end + later, 3))
            for word in self._words(labels, hypothesis)
        )
        return Output(name="", text=self.tokenizer.decode(hypothesis.tokens), hypothesis=hypothesis, words=words)

    def _search(
        self, recordings: Sequence[Float[Tensor, "_frames bands"]], options: Greedy | Beam | Sampling | None
    ) -> list[list[tuple[Hypothesis, Float[Tensor, "_length vocabulary"]]]]:
        """The hypotheses of each recording, each with the labels of its positions."""
        options = self.recipe.decoding if options is None else options
        device = device_of(self.model)
        features = pad_sequence(list(recordings), batch_first=True).to(device)
        frames = torch.tensor([len(one) for one in recordings], device=device)
        with torch.no_grad():
            heard = self.model.hear(features, frames)
        labels = [row[:length] for row, length in zip(heard.labels, heard.lengths.tolist(), strict=True)]
        if isinstance(options, Greedy):
            found = zip(labels, ctc_greedy(heard.labels, heard.lengths), strict=True)
            hypotheses = [[likeliest(row, tokens)] for row, tokens in found]
        else:
            joint = Joint(self.model, heard, self.recipe.decoding_ctc, self.language, self.recipe.decoding_language)
            hypotheses = search(joint, heard.labels, heard.lengths, options)
        return [[(one, row.cpu()) for one in of_one] for of_one, row in zip(hypotheses, labels, strict=True)]

    def _words(self, labels: Float[Tensor, "length vocabulary"], hypothesis: Hypothesis) -> tuple[Word, ...]:
        """When each word is said: from the first position of its first token to the last of its last one."""
        tokens = list(hypothesis.tokens)
        try:
            spans, _ = ctc_align(labels, tokens)
        except ValueError:  # more was written than can have been said
            return ()
        seconds = SHRINKS * self.front.step / self.front.rate
        words: list[list[int]] = []
        for place, piece in enumerate(read(self.tokenizer.tokens(tokens))):
            if piece.starts or not words:
                words.append([])
            words[-1].append(place)
        found = []
        for places in words:
            voiced = [place for place in places if self.tokenizer.decode([tokens[place]]).strip()]  # a space is not
            if voiced:
                start, end = (round(at * seconds, 3) for at in (spans[voiced[0]][0], spans[voiced[-1]][1]))
                text = self.tokenizer.decode([tokens[place] for place in places]).strip()
                found.append(Word(text=text, start=start, end=end))
        return tuple(found)

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "Transcriber":
        """The transcriber of a run whose recipe has been read."""
        tokenizers = Tokenizers.load(run.tokenizer_path)
        model = run.load_model(lambda: recipe.model.build(len(tokenizers.target), recipe.bands))
        language = NGram.load(language_path(run)) if recipe.language else None
        return cls(model, tokenizers, recipe, language)


def language_path(run: RunDirectory) -> Path:
    """Where a run keeps its counts of n-grams."""
    return run.path / "language.json"


def _batches(parts: list[tuple[int, int, int]]) -> Iterator[list[tuple[int, int, int]]]:
    return (parts[start : start + _TOGETHER] for start in range(0, len(parts), _TOGETHER))


def _joined(outputs: Sequence[Output]) -> Output:
    """What was said in the parts of a recording, one after the other."""
    every = [output.hypothesis for output in outputs]
    return Output(
        name="",
        text=" ".join(output.text for output in outputs if output.text),
        hypothesis=Hypothesis(
            tokens=tuple(token for one in every for token in one.tokens),
            score=sum(one.score for one in every),
            log_probability=sum(one.log_probability for one in every),
            finished=all(one.finished for one in every),
            rows=(),
        ),
        words=tuple(word for output in outputs for word in output.words),
    )


def likeliest(labels: Float[Tensor, "length vocabulary"], tokens: Sequence[int]) -> Hypothesis:
    """What the likeliest label of each position says, scored by the log-probability of these labels."""
    score = float(labels.amax(-1).sum())
    return Hypothesis(tokens=tuple(tokens), score=score, log_probability=score, finished=True, rows=())


def _spikes(labels: Float[Tensor, "length vocabulary"], tokens: list[int]) -> Float[Tensor, "1 text length"]:
    """Where each token is heard: how likely it is at each position from the end of the token before to the beginning of
    the next, as shares; of the end, the positions behind the last token."""
    try:
        spans, _ = ctc_align(labels, tokens)
    except ValueError:  # more was written than can have been said
        spans = [(0, len(labels))] * len(tokens)
    starts = [0, *(behind for _, behind in spans)]
    ends = [*(first for first, _ in spans[1:]), len(labels), len(labels)]
    rows = labels.new_zeros(len(tokens) + 1, len(labels))
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        start = min(start, len(labels) - 1)
        heard = labels[start : max(end, start + 1), tokens[number] if number < len(tokens) else BLANK].exp()
        rows[number, start : start + len(heard)] = heard / heard.sum().clamp_min(1e-20)
    return rows.unsqueeze(0)
