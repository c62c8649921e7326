"""`regard look hf:ID_OR_PATH`: what a model of `transformers` attends to, at full speed and any length."""

from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoConfig, AutoFeatureExtractor, AutoImageProcessor, AutoModel, AutoProcessor, AutoTokenizer

from regard.attention import Seen, watch
from regard.attention.kept import Kept
from regard.data.sounds import read_sound, to_flac
from regard.explain.look import Grid, Look, Side, records
from regard.explain.pieces import Piece, visible
from regard.explain.spectrogram import spectrogram_png, waveform_features
from regard.hub.adopt import adopt
from regard.hub.media import picture_png
from regard.hub.pieces import pieces_of

INPUT, OUTPUT, READ = "input", "output", "so far"
# Who attends to whom in an encoder-decoder, by the names that transformers has for its modules; the first counts.
_ATTENDS = {
    **dict.fromkeys(("*encoder_attn", "*EncDecAttention", "*crossattention*", "*cross_attn*"), (OUTPUT, INPUT)),
    **dict.fromkeys(("decoder.*", "*.decoder.*"), (OUTPUT, READ)),
    **dict.fromkeys(("encoder.*", "*.encoder.*"), (INPUT, INPUT)),
}
_TITLE = 80  # letters of a text that name it
_NO_SEQUENCE = (
    "attends within windows, or to fewer keys than queries: there is no one sequence of places to lay its weights "
    "over; choose other layers, if the model has them"
)


class Looker:
    """A model of `transformers` on Regard's attention, and what turns its inputs into tensors.

    Args:
        model: it is switched to Regard's attention (`adopt`) and to evaluation.
        processor: its tokenizer, image processor, feature extractor, or processor of several.
        new_tokens: how many tokens are generated at most; a model that only reads generates none when not given,
            one that writes as many as its generation config says.
        layers: patterns of the modules that are looked at; all when not given.
    """

    def __init__(
        self, model: Any, processor: Any, *, new_tokens: int | None = None, layers: str | Sequence[str] | None = None
    ) -> None:
        self.model, self.processor = adopt(model).eval(), processor
        self.tokenizer = getattr(processor, "tokenizer", processor)
        self.new_tokens, self.layers = new_tokens, layers
        self.writes = bool(model.config.is_encoder_decoder and model.can_generate())

    @classmethod
    def load(cls, name: str, *, new_tokens: int | None = None, layers: str | Sequence[str] | None = None) -> "Looker":
        """The model of a folder or of the hub, by the class that it was saved as. Safetensors only; no remote code.

        Raises:
            OSError: there is no such model, or no tokenizer or processor beside it.
            ValueError: its code computes attention by itself.
        """
        config = AutoConfig.from_pretrained(name, trust_remote_code=False)
        kind = getattr(transformers, (config.architectures or [""])[0], AutoModel)
        model = kind.from_pretrained(name, use_safetensors=True)
        if model.main_input_name == "input_ids":
            processor = AutoTokenizer.from_pretrained(name, trust_remote_code=False)
        elif model.can_generate():
            processor = AutoProcessor.from_pretrained(name, trust_remote_code=False)
        elif model.main_input_name == "pixel_values":
            processor = AutoImageProcessor.from_pretrained(name, trust_remote_code=False)
        else:
            processor = AutoFeatureExtractor.from_pretrained(name, trust_remote_code=False)
        return cls(model, processor, new_tokens=new_tokens, layers=layers)

    def look(self, given: str) -> Look:
        """What the model attends to in a text, or in the picture or the sound of a file.

        Raises:
            ValueError: no such picture, a file of another kind, a text longer than the model takes, or no attention
                over one sequence.
            OSError: there is no such sound.
        """
        match self.model.main_input_name:
            case "input_ids":
                return self._text(given)
            case "pixel_values":
                return self._picture(Path(given))
            case _:
                return self._sound(Path(given))

    def _text(self, text: str) -> Look:
        inputs = self.tokenizer(text, return_tensors="pt").to(self.model.device)
        if not inputs.input_ids.numel():
            raise ValueError("there is nothing to look at: the text has no tokens")
        title = visible(text if len(text) <= _TITLE else text[:_TITLE] + "…")
        try:
            if self.writes:
                return self._written(
                    inputs, lambda size: Side(name=INPUT, pieces=self._pieces(inputs.input_ids)), title
                )
            if self.new_tokens:
                whole = self.model.generate(**inputs, max_new_tokens=self.new_tokens, do_sample=False)
                inputs = {"input_ids": whole}
            tokens = inputs["input_ids"]
            with torch.no_grad(), watch(self.model, *records(tokens.shape[1]), layers=self.layers) as seen:
                self.model(**inputs)
        except IndexError:
            most = getattr(self.model.config, "max_position_embeddings", "fewer")
            length = inputs["input_ids"].shape[1]
            raise ValueError(f"the text has {length} tokens, but the model takes {most}: give a shorter one") from None
        side = Side(name=INPUT, pieces=self._pieces(tokens))
        return Look.of(seen, (side,), {"*": (INPUT, INPUT)}, title=title)

    def _picture(self, path: Path) -> Look:
        from regard.data.pictures import read_picture

        processor = getattr(self.processor, "image_processor", self.processor)
        pixels = processor(images=read_picture(path), return_tensors="pt").pixel_values.to(self.model.device)
        png = picture_png(pixels[0].cpu().float(), processor)

        def side(size: int) -> Side:
            grid = _grid(png, size, *pixels.shape[-2:])
            cells = [
                f"row {cell // grid.columns + 1}, column {cell % grid.columns + 1}" for cell in range(size - grid.first)
            ]
            named = [f"token {place}" for place in range(grid.first)] + cells
            pieces = tuple(
                Piece(text=name, starts=True, special=place < grid.first) for place, name in enumerate(named)
            )
            return Side(name=INPUT, pieces=pieces, grid=grid)

        if self.writes:
            return self._written({"pixel_values": pixels}, side, path.name)
        return self._felt({"pixel_values": pixels}, side, path.name)

    def _sound(self, path: Path) -> Look:
        extractor = getattr(self.processor, "feature_extractor", self.processor)
        rate = extractor.sampling_rate
        samples = read_sound(path, rate)
        inputs = extractor(samples.numpy(), sampling_rate=rate, return_tensors="pt").to(self.model.device)
        features = inputs[self.model.main_input_name][0].cpu().float()
        seconds = len(samples) / rate
        if features.ndim == 1:
            features = waveform_features(features, rate)
        elif "hop_length" in vars(extractor):  # Whisper's features are of thirty seconds, whatever was said
            seconds = features.shape[1] * extractor.hop_length / rate
        png = spectrogram_png(features)

        def side(size: int) -> Side:
            pieces = tuple(Piece(text=f"{place * seconds / size:.2f} s", starts=True) for place in range(size))
            grid = Grid(png=png, rows=1, columns=size, sound=to_flac(samples, rate), seconds=seconds)
            return Side(name=INPUT, pieces=pieces, grid=grid)

        return (self._written if self.writes else self._felt)(dict(inputs), side, path.name)

    def _written(self, inputs: Mapping[str, Tensor], side: Callable[[int], Side], title: str) -> Look:
        """Of an encoder-decoder: what it attends to when it writes what it would write, read in one go."""
        limit = {} if self.new_tokens is None else {"max_new_tokens": self.new_tokens}
        # As a dictionary: of Whisper the bare tokens would lack those that the decoder starts from.
        tokens = self.model.generate(**inputs, do_sample=False, return_dict_in_generate=True, **limit).sequences
        with torch.no_grad(), watch(self.model, keep=True, layers=self.layers) as seen:
            self.model(**inputs, decoder_input_ids=tokens[:, :-1], use_cache=False)
        kept = {name: seen.kept(name)[0] for name in seen if len(seen.calls(name)) == 1}
        found = {name: _asked(one) for name, one in kept.items()}
        pieces = self._pieces(tokens)
        size = _size(kept, _ATTENDS, INPUT)
        sides = (side(size), Side(name=OUTPUT, pieces=pieces[1:]), Side(name=READ, pieces=pieces[:-1]))
        return Look.of(found, sides, _ATTENDS, title=title)

    def _felt(self, inputs: Mapping[str, Tensor], side: Callable[[int], Side], title: str) -> Look:
        """Of a model that writes nothing: its encoder, and a decoder's queries if it has one."""
        with torch.no_grad(), watch(self.model, keep=True, layers=self.layers) as seen:
            self.model(**inputs)
        kept = {name: seen.kept(name)[0] for name in seen if len(seen.calls(name)) == 1}
        if self.model.config.is_encoder_decoder:  # such as DETR's, whose queries are objects
            attends = {
                pattern: (one, INPUT if other == INPUT else OUTPUT) for pattern, (one, other) in _ATTENDS.items()
            }
        else:
            attends = {"*": (INPUT, INPUT)}
        sides = [side(_size(kept, attends, INPUT))]
        if self.model.config.is_encoder_decoder:
            queries = range(_size(kept, attends, OUTPUT))
            sides.append(Side(name=OUTPUT, pieces=tuple(Piece(text=f"query {one}", starts=True) for one in queries)))
        sizes = {one.name: len(one.pieces) for one in sides}
        found = {}
        for name, one in kept.items():
            pair = _pair(name, attends)
            place = one.call.place
            if pair and (place.batch, place.queries, place.keys) == (1, sizes[pair[0]], sizes[pair[1]]):
                found[name] = _asked(one)
        left = [name for name in seen if name not in found]
        if left:
            raise ValueError(f"{left[0]} {_NO_SEQUENCE}")
        return Look.of(found, sides, attends, title=title)

    def _pieces(self, tokens: Tensor) -> tuple[Piece, ...]:
        return pieces_of(self.tokenizer, tokens[0].tolist())


def _asked(kept: Kept) -> Seen:
    return kept.observe(*records(max(kept.call.place.queries, kept.call.place.keys)))


def _pair(name: str, attends: Mapping[str, tuple[str, str]]) -> tuple[str, str] | None:
    return next((pair for pattern, pair in attends.items() if fnmatchcase(name, pattern)), None)


def _size(kept: Mapping[str, Kept], attends: Mapping[str, tuple[str, str]], side: str) -> int:
    """How long a side is: as long as the first layer has it."""
    for name, one in kept.items():
        pair = _pair(name, attends)
        if pair and side in pair and one.call.place.batch == 1:
            return one.call.place.queries if pair[0] == side else one.call.place.keys
    raise ValueError(f"{next(iter(kept), 'the model')} {_NO_SEQUENCE}")


def _grid(png: bytes, size: int, height: int, width: int) -> Grid:
    """The cells of a picture that a sequence of `size` places stands for, behind as few other tokens as can be."""
    for first in range(min(size, 9)):
        for columns in range(1, size - first + 1):
            rows, rest = divmod(size - first, columns)
            if not rest and abs(rows * width - columns * height) < max(width, height):
                return Grid(png=png, rows=rows, columns=columns, first=first)
    raise ValueError(f"{size} places are no grid over a picture of {width} x {height} pixels")
