"""Captioning pictures with a trained model, and looking at what each word attended to."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor

from regard.attention import Weights, watch
from regard.data.captioned import CaptionedPictures, read_captioned, survey_captioned
from regard.data.pictures import read_picture, to_png, to_tensor
from regard.data.scene import Scene, resized
from regard.data.tokenizer import Tokenizers
from regard.decoding import Beam, Greedy, Hypothesis, Sampling, search
from regard.explain.look import Grid, Look, Side, of_weights, records
from regard.explain.pieces import Piece, read
from regard.models.captioner import Captioner, ShowAttendTell
from regard.models.device import device_of
from regard.models.tokens import END, START
from regard.tasks.captioning import metrics
from regard.tasks.captioning.recipe import Recipe
from regard.tasks.evaluation import Evaluation
from regard.tasks.pretrained import reopen_backbone
from regard.tasks.said import Said
from regard.training import RunDirectory
from regard.training.programs import Exported

_TOGETHER = 16  # pictures that are captioned at a time
_PICTURE, _CAPTION, _SO_FAR = "picture", "caption", "so far"


class PictureCaptioner:
    """A trained model with its tokenizer; reads weights, pictures and plain text files, executes nothing."""

    reads = "pictures"

    def __init__(self, model: Captioner | ShowAttendTell | Exported, tokenizers: Tokenizers, recipe: Recipe) -> None:
        self.model: Any = model.eval()
        self.tokenizer, self.recipe = tokenizers.target, recipe

    def predict(self, files: Sequence[str], options: Greedy | Beam | Sampling | None = None) -> Iterator[list[Said]]:
        """What is said of each picture, best first, by `options` or as the recipe says.

        Raises:
            ValueError: a picture that cannot be read, when its turn comes.
        """
        options = self.recipe.decoding if options is None else options
        for start in range(0, len(files), _TOGETHER):
            some = files[start : start + _TOGETHER]
            pictures = [self._fitted(to_tensor(read_picture(path))) for path in some]
            for path, hypotheses in zip(some, self._search(torch.stack(pictures), options), strict=True):
                yield [
                    Said(name=Path(path).name, text=self.tokenizer.decode(one.tokens), hypothesis=one)
                    for one in hypotheses
                ]

    def caption(self, pictures: CaptionedPictures, options: Greedy | Beam | Sampling) -> list[str]:
        """The best caption of each picture."""
        found = []
        for start in range(0, len(pictures), _TOGETHER):
            places = range(start, min(start + _TOGETHER, len(pictures)))
            scenes = torch.stack([self._fitted(pictures.scene(place).picture) for place in places])
            found += [self.tokenizer.decode(one[0].tokens) for one in self._search(scenes, options)]
        return found

    def evaluate(
        self,
        *,
        data: str | None = None,
        split: str | None = None,
        options: Greedy | Beam | Sampling | None = None,
    ) -> Evaluation:
        """Every metric of the field on the pictures `split` of the folder `data`; as in the recipe, if not given."""
        files = self.recipe.files
        skip = files.broken == "skip"
        pictures, problems = survey_captioned(find(self.recipe, split or files.test, data=data), skip=skip)
        outputs = self.caption(pictures, self.recipe.decoding if options is None else options)
        try:
            training = find(self.recipe, files.train).texts()
        except ValueError:  # a run that was copied elsewhere is measured without its training data
            training = []
        left = "".join(f"\nleft out: {problem}" for problem in problems)
        return Evaluation(
            scores=metrics.all_scores(outputs, pictures.captions),
            outputs=outputs,
            table=metrics.table(outputs, training) + left,
        )

    def look(self, file: str) -> Look:
        """Caption a picture, and look at which of its places each word attended to."""
        picture = self._fitted(to_tensor(read_picture(file)))
        best = replace(self.recipe.decoding, n_best=1)
        hypothesis = self._search(picture[None], best)[0][0]
        emitted = [*hypothesis.tokens, END] if hypothesis.finished else [*hypothesis.tokens]
        stride = int(self.model.memory.encoder.strides[self.model.memory.level])
        rows, columns = (-(-length // stride) for length in picture.shape[-2:])
        places = tuple(
            Piece(text=f"row {row + 1}, column {column + 1}", starts=True)
            for row in range(rows)
            for column in range(columns)
        )
        said = read((*self.tokenizer.tokens(hypothesis.tokens), *(["</s>"] if hypothesis.finished else [])))
        grid = Grid(png=to_png(picture), rows=rows, columns=columns)
        sides = [Side(name=_PICTURE, pieces=places, grid=grid), Side(name=_CAPTION, pieces=said)]
        given = picture[None].to(device_of(self.model))
        tokens = torch.tensor([[START, *emitted[:-1]]], device=given.device)
        one = torch.ones(1, dtype=torch.long, device=given.device)
        if isinstance(self.model, ShowAttendTell):
            with torch.no_grad(), watch(self.model, Weights(), layers=[""]) as seen:
                self.model(given, one, tokens)
            weights = seen.stitched("").weights[0]
            layers = (of_weights("the decoder", weights, queries=_CAPTION, keys=_PICTURE),)
            return Look(title=Path(file).name, sides=tuple(sides), layers=layers, score=hypothesis.score)
        sides.append(Side(name=_SO_FAR, pieces=(Piece(text="START", starts=True, special=True), *said[:-1])))
        attends = {"decoder.*.cross": (_CAPTION, _PICTURE), "decoder.*": (_CAPTION, _SO_FAR)}
        for pattern, own in self.model.memory.encoder.global_layers.items():
            if own == stride:
                attends[f"memory.encoder.{pattern}"] = (_PICTURE, _PICTURE)
        longest = max(len(places), len(said))
        with torch.no_grad(), watch(self.model, *records(longest), layers=list(attends)) as seen:
            self.model(given, one, tokens)
        return Look.of(seen, sides, attends, title=Path(file).name, score=hypothesis.score)

    def _search(
        self, pictures: UInt8[Tensor, "batch 3 height width"], options: Greedy | Beam | Sampling
    ) -> list[list[Hypothesis]]:
        device = device_of(self.model)
        return search(
            self.model, pictures.to(device), torch.ones(len(pictures), dtype=torch.long, device=device), options
        )

    def _fitted(self, picture: UInt8[Tensor, "3 _height _width"]) -> UInt8[Tensor, "3 _tall _wide"]:
        return resized(Scene(picture=picture), self.recipe.size[0], self.recipe.size[1]).picture

    @classmethod
    def load(cls, run: RunDirectory, recipe: Recipe) -> "PictureCaptioner":
        """The captioner of a run whose recipe has been read."""
        tokenizers = Tokenizers.load(run.tokenizer_path)
        model = run.load_model(lambda: recipe.model.build(len(tokenizers.target), reopen_backbone(run, recipe.start)))
        return cls(model, tokenizers, recipe)


def find(recipe: Recipe, split: str, *, data: str | None = None) -> CaptionedPictures:
    """The pictures of a split."""
    files = recipe.files
    return read_captioned(
        data or recipe.data, split, pictures=files.pictures, picture=files.picture, caption=files.caption
    )
