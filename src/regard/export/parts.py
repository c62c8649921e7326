"""A model as programs: what goes into each, what comes out, and which sizes vary."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from regard.export.states import CHANGES, to_state, to_tensors
from regard.models.captioner import Captioner, ShowAttendTell
from regard.models.classifier import Classifier
from regard.models.detector import Detector
from regard.models.recognizer import Recognizer
from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.segmenter import Segmenter
from regard.models.tokens import START
from regard.models.transformer import Transformer
from regard.models.vision import VisionTransformer, VisualEncoder
from regard.nn.conformer import SHRINKS
from regard.nn.positions import Learned
from regard.training.programs import LABELS, NEW

Axes = tuple[str | None, ...]
# Of what a decoder keeps, in their order; "source" does not vary where all pictures have one size.
_STATE: dict[str, Axes] = {
    "lengths": ("rows",),
    "memory": ("rows", None, None, None, "source", None),
    "past": ("rows", None, None, None, "written", None),
    "source": ("rows", "source"),
    "read": ("rows", "source", None),
    "keys": ("rows", "source", None),
    "hidden": ("rows", None),
    "cell": ("rows", None),
    "context": ("rows", None),
    "looked": ("rows", None, "source"),
}
_PREPARED: Axes = ("rows", None, "source", None)  # keys of a score that projects them
_LENGTHS, _WRITTEN = (9, 6), 5  # of the examples that are traced: sizes of 0 and 1 are traced as such
_LEAST = {"frames": 5, "height": 33, "width": 33}  # below them maps have a single place, which is traced as such


@dataclass(frozen=True, kw_only=True, eq=False)
class Input:
    """What a program is given: an example, and the names of those of its sizes that vary, in the place of each."""

    example: Tensor
    axes: Axes


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One program of a model.

    Args:
        name: "model", or "encoder" and "decoder" of one that writes.
        module: what is called.
        inputs: its arguments, in their order.
        outputs: the names of what it returns; what a step changed of the state has "new_" before it.
        multiple: of what heights and widths that vary are multiples.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Input]
    outputs: tuple[str, ...]
    multiple: int = 1

    @property
    def examples(self) -> tuple[Tensor, ...]:
        """The arguments of an example."""
        return tuple(given.example for given in self.inputs.values())

    def dynamic_shapes(self) -> dict[str, tuple[dict[int, Any], ...]]:
        """The sizes that vary, as `torch.export` is told of them."""
        tables = [len(part.table) for part in self.module.modules() if isinstance(part, Learned)]
        names = {axis for given in self.inputs.values() for axis in given.axes if axis is not None}
        sizes: dict[str, Any] = {axis: Dim(axis, min=_LEAST.get(axis)) for axis in names}
        if self.multiple > 1:  # patches, which fill up what they do not divide by more than a graph can say
            sizes |= {axis: self.multiple * Dim(f"{axis}_in_patches", min=3) for axis in names & {"height", "width"}}
        for axis in names & {"source", "written"} if tables else ():
            sizes[axis] = Dim(axis, max=min(tables) - (axis == "written"))
        shapes = (
            {place: sizes[axis] for place, axis in enumerate(given.axes) if axis is not None}
            for given in self.inputs.values()
        )
        return {"arguments": tuple(shapes)}


def parts_of(model: nn.Module, recipe: Any) -> list[Part]:
    """The programs of a trained model.

    Raises:
        ValueError: a pretrained model, whose own library exports it.
    """
    match model:
        case Classifier():
            return [Part(name="model", module=_Called(model), inputs=_tokens("tokens"), outputs=("logits",))]
        case Segmenter():
            patch = model.encoder.patch if isinstance(model.encoder, VisionTransformer) else 1
            any_size = patch > 1 or isinstance(model.encoder, VisualEncoder)
            size = [-(-side // patch) * patch for side in recipe.crop]
            inputs = _pictures(size, *(("height", "width") if any_size else ()))
            return [Part(name="model", module=_Called(model), inputs=inputs, outputs=("logits",), multiple=patch)]
        case Detector():
            inputs = _pictures(recipe.size)
            return [Part(name="model", module=_Detecting(model), inputs=inputs, outputs=("logits", "boxes"))]
        case Recognizer(decoder=None):
            inputs = _features(recipe.bands)
            return [Part(name="model", module=_Labelling(model), inputs=inputs, outputs=(LABELS,))]
        case Recognizer():
            return _writing(model, _features(recipe.bands))
        case Captioner() | ShowAttendTell():
            return _writing(model, _pictures(recipe.size), varies=False)
        case Transformer() | RecurrentSeq2Seq():
            return _writing(model, _tokens("source"))
    raise ValueError(
        f"{type(model).__name__} is a pretrained model of another library, whose own exporters take it: save it from "
        "the run's folder `pretrained`"
    )


def _tokens(name: str) -> dict[str, Input]:
    rows = torch.full((len(_LENGTHS), max(_LENGTHS)), START)
    return {name: Input(example=rows, axes=("rows", "source")), "lengths": _lengths(_LENGTHS)}


def _features(bands: int) -> dict[str, Input]:
    frames = [SHRINKS * length for length in _LENGTHS]
    features = torch.zeros(len(frames), max(frames), bands)
    return {"features": Input(example=features, axes=("rows", "frames", None)), "frames": _lengths(frames)}


def _lengths(lengths: Sequence[int]) -> Input:
    return Input(example=torch.tensor(lengths), axes=("rows",))


def _pictures(size: Sequence[int], *axes: str) -> dict[str, Input]:
    """Pictures of one size, or of any."""
    pictures = torch.zeros(len(_LENGTHS), 3, *size, dtype=torch.uint8)
    return {"pictures": Input(example=pictures, axes=("rows", None, *(axes or (None, None))))}


def _writing(model: Any, inputs: dict[str, Input], *, varies: bool = True) -> list[Part]:
    """An encoder that gives the state in which nothing is written, and a decoder's step."""
    encoder = _Encoding(model, tuple(inputs))
    with torch.no_grad():
        found = encoder.named(tuple(given.example for given in inputs.values()))
    state = {name: tensor for name, tensor in found.items() if name != LABELS}
    given = {"tokens": Input(example=torch.full((len(_LENGTHS),), START), axes=("rows",))}
    for name, tensor in state.items():
        axes = _PREPARED if name == "keys" and tensor.ndim == len(_PREPARED) else _STATE[name]
        if not varies:
            axes = tuple(None if axis == "source" else axis for axis in axes)
        if name == "past":
            tensor = tensor.new_zeros(*tensor.shape[:4], _WRITTEN, tensor.shape[5])
        given[name] = Input(example=tensor.clone(), axes=axes)  # two that begin as one would be traced as one
    changed = tuple(name for name in state if name in CHANGES)
    step = _Step(model, tuple(state), changed)
    return [
        Part(name="encoder", module=encoder, inputs=inputs, outputs=encoder.outputs(found)),
        Part(name="decoder", module=step, inputs=given, outputs=("logits", *(NEW + name for name in changed))),
    ]


class _Called(nn.Module):
    """A model by itself."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *arguments: Tensor) -> Any:
        return self.model(*arguments)


class _Detecting(_Called):
    def forward(self, *arguments: Tensor) -> tuple[Tensor, Tensor]:
        found = self.model(*arguments)
        return found.logits, found.boxes


class _Labelling(_Called):
    def forward(self, *arguments: Tensor) -> Tensor:
        model: Any = self.model
        labels: Tensor = model.hear(*arguments).labels
        return labels


class _Encoding(_Called):
    """The state in which nothing is written, less what it was given; of a recognizer the labels of CTC too."""

    def __init__(self, model: nn.Module, given: tuple[str, ...]) -> None:
        super().__init__(model)
        self.given = given

    def outputs(self, found: dict[str, Tensor]) -> tuple[str, ...]:
        """The names of what a call returns."""
        return tuple(name for name in found if name not in self.given)

    def named(self, arguments: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The state by name, and what else is found."""
        model: Any = self.model
        match model:
            case Recognizer():
                heard: Any = model.hear(*arguments)  # with a decoder
                return {LABELS: heard.labels, **to_tensors(model, heard.begin())}
            case Captioner() | ShowAttendTell():
                counts = torch.ones(arguments[0].shape[:1], dtype=torch.long)
                return to_tensors(model, model.encode(arguments[0], counts))
        # Not the decoder's steps of the kernels, which are no graph.
        begin: Any = model.begin if type(model) is Transformer else model.encode
        return to_tensors(model, begin(*arguments))

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        found = self.named(arguments)
        return tuple(found[name] for name in self.outputs(found))


class _Step(_Called):
    """The logits of the token after `tokens`, and what changed of the state."""

    def __init__(self, model: nn.Module, names: tuple[str, ...], changed: tuple[str, ...]) -> None:
        super().__init__(model)
        self.names, self.changed = names, changed

    def forward(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        model: Any = self.model
        tokens, *tensors = arguments
        state = to_state(model, dict(zip(self.names, tensors, strict=True)))
        logits = model.step(tokens, state)
        after = to_tensors(model, state)
        return (logits, *(after[name] for name in self.changed))
