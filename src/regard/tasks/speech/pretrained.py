"""Pretrained recognizers of `transformers` as they are, on Regard's attention: Whisper, wav2vec2 and their like."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.recorded import Recorded
from regard.data.sounds import read_sound
from regard.decoding import Beam, Greedy, Hypothesis, Sampling
from regard.explain.look import Look
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import hub_name
from regard.tasks.speech.evaluation import evaluate
from regard.tasks.speech.output import Output
from regard.tasks.speech.parts import cut_at_pauses
from regard.tasks.speech.recipe import Recipe
from regard.tasks.speech.subtitles import Word

_HEARD = 30.0  # seconds that Whisper hears at a time
_STEP = 0.02  # seconds whose loudness is one number
_QUIET = 0.1  # of the mean loudness: below it, nobody speaks


class PretrainedTranscriber:
    """Whisper, whose words have their times from its own attention; or a model with CTC, such as wav2vec2.

    A recording longer than half a minute is cut where it is quiet.

    Args:
        model: an encoder-decoder that writes, or a model with a head of CTC, on Regard's attention.
        processor: its feature extractor and tokenizer.
        recipe: whose `decoding` says how wide a search is; only Whisper searches.
    """

    writes = True

    def __init__(self, model: Any, processor: Any, recipe: Recipe) -> None:
        self.model, self.processor, self.recipe = model, processor, recipe
        self.rate = int(processor.feature_extractor.sampling_rate)

    @classmethod
    def load(cls, name: str) -> "PretrainedTranscriber":
        """The model `hf:NAME`, by safetensors alone, and no code of its own.

        Raises:
            OSError: there is no such model.
            ValueError: it recognises no speech.
        """
        from regard.hub.recognizer import load_recognizer

        return cls(*load_recognizer(hub_name(name)), Recipe(data="", start=name))

    def predict(self, files: Sequence[str], options: Greedy | Beam | Sampling | None = None) -> Iterator[list[Output]]:
        """What is said in each recording, and when each word is.

        Raises:
            ValueError: a recording that cannot be read, when its turn comes; or a search that draws.
        """
        for path in files:
            yield [self._written(read_sound(path, self.rate), Path(path).name, options)]

    def transcribe(self, recorded: Recorded, options: Greedy | Beam | Sampling | None = None) -> list[str]:
        """What is said in each."""
        return [self._written(recorded.sound(place, self.rate), "", options).text for place in range(len(recorded))]

    def evaluate(
        self, *, data: str | None = None, split: str | None = None, options: Greedy | Beam | Sampling | None = None
    ) -> Evaluation:
        """Every metric of the field on the recordings `split` of the folder `data`.

        Raises:
            ValueError: no folder was given.
        """
        if data is None:
            raise ValueError("a pretrained model has no data of its own: add --data DIR")
        return evaluate(self, self.recipe, data=data, split=split, options=options, rate=self.rate, shortest=_STEP)

    def look(self, file: str) -> Look:
        """What the model attended to while it heard a recording and wrote."""
        from regard.hub.looker import Looker

        return Looker(self.model, self.processor).look(file)

    def _written(self, sound: Float[Tensor, " samples"], name: str, options: Greedy | Beam | Sampling | None) -> Output:
        options = self.recipe.decoding if options is None else options
        if isinstance(options, Sampling):
            raise ValueError("a pretrained recognizer does not draw what it hears: --search beam or greedy")
        hear = self._by_attention if self.model.config.is_encoder_decoder else self._by_ctc
        words: list[Word] = []
        tokens: list[int] = []
        for start, end in _parts(sound, self.rate):
            some, said = hear(sound[start:end], getattr(options, "width", 1))
            later = start / self.rate
            words += [Word(text=w.text, start=round(w.start + later, 3), end=round(w.end + later, 3)) for w in some]
            tokens += said
        hypothesis = Hypothesis(tokens=tuple(tokens), score=0.0, log_probability=0.0, finished=True, rows=())
        return Output(name=name, text=" ".join(word.text for word in words), hypothesis=hypothesis, words=tuple(words))

    def _by_attention(self, sound: Tensor, width: int) -> tuple[list[Word], list[int]]:
        """What Whisper writes, each token with the time at which its heads of alignment say that it was spoken."""
        from regard.hub.timestamps import token_timestamps

        inputs = self.processor(
            sound.numpy(), sampling_rate=self.rate, return_tensors="pt", return_attention_mask=True
        ).to(self.model.device)
        with torch.no_grad(), token_timestamps(self.model):
            found = self.model.generate(**inputs, num_beams=width, return_token_timestamps=True)
        tokens, times = found["sequences"][0].tolist(), found["token_timestamps"][0].tolist()
        tokenizer = self.processor.tokenizer
        special = set(tokenizer.all_special_ids)
        words: list[Word] = []
        for place, (token, time) in enumerate(zip(tokens, times, strict=True)):
            if token in special:
                continue
            text = tokenizer.decode([token])
            end = min(times[place + 1] if place + 1 < len(times) else time, len(sound) / self.rate)
            if text.startswith(" ") or not words:
                words.append(Word(text=text.strip(), start=time, end=max(time, end)))
            else:
                last = words[-1]
                words[-1] = Word(text=last.text + text, start=last.start, end=max(last.end, end))
        return [word for word in words if word.text.strip()], tokens

    def _by_ctc(self, sound: Tensor, width: int) -> tuple[list[Word], list[int]]:
        """The likeliest label of each position, and the words of these."""
        inputs = self.processor(sound.numpy(), sampling_rate=self.rate, return_tensors="pt").to(self.model.device)
        with torch.no_grad():
            best = self.model(**inputs).logits[0].argmax(-1)
        step = self.model.config.inputs_to_logits_ratio / self.rate
        found = self.processor.tokenizer.decode(best, output_word_offsets=True)
        words = [
            Word(text=one["word"], start=round(one["start_offset"] * step, 3), end=round(one["end_offset"] * step, 3))
            for one in found.word_offsets
        ]
        return words, best.tolist()


def _parts(sound: Float[Tensor, " samples"], rate: int) -> list[tuple[int, int]]:
    """Samples from where to where are heard together."""
    if len(sound) <= _HEARD * rate:
        return [(0, len(sound))]
    size = round(_STEP * rate)
    loud = torch.nn.functional.pad(sound, (0, -len(sound) % size)).view(-1, size).square().mean(1).sqrt()
    parts = cut_at_pauses(loud < _QUIET * loud.mean(), round(_HEARD / _STEP))
    return [(start * size, min(end * size, len(sound))) for start, end in parts]
