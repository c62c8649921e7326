"""A model as programs of `torch.export` or of ONNX: written, read, and searched as the model itself is."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.export import ExportedProgram

from regard import __version__
from regard.export.parts import NEW, Part, parts_of
from regard.models.tokens import END, PAD, START, UNKNOWN
from regard.training.run import RunDirectory

Form = Literal["onnx", "torch"]
Program = Callable[[Sequence[Tensor]], list[Tensor]]
SIGNATURE = "signature.json"
_BESIDE = ("tokenizer.json", "labels.json")  # of a run, what whoever calls the programs wants beside them


def to_programs(predictor: Any, run: RunDirectory, folder: Path, form: Form) -> list[Part]:
    """Write the programs of a run's model into `folder`, and what they are given and give as `signature.json`.

    Args:
        predictor: that the run was loaded as.
        run: whose tokenizer and labels go beside them.
        folder: where to.
        form: for which runtime.

    Raises:
        ValueError: a model that cannot be traced.
    """
    parts = parts_of(predictor.model, predictor.recipe)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part in parts:
        path = folder / f"{part.name}.{'onnx' if form == 'onnx' else 'pt2'}"
        _write(part, path, form)
        files[part.name] = path.name
    for name in _BESIDE:
        if (run.path / name).exists():
            shutil.copy(run.path / name, folder / name)
    text = json.dumps(_signature(parts, files, run.read_config(), predictor.recipe), indent=1)
    (folder / SIGNATURE).write_text(f"{text}\n", encoding="utf-8")
    return parts


def trace(part: Part) -> ExportedProgram:
    """The program of a part, for all sizes that vary."""
    with torch.no_grad():
        return torch.export.export(
            part.module,
            part.examples,
            dynamic_shapes=part.dynamic_shapes(),
            prefer_deferred_runtime_asserts_over_guards=True,
        )


def _write(part: Part, path: Path, form: Form) -> None:
    program = trace(part)
    if form == "torch":
        torch.export.save(program, path)
        return
    # It would say of each operator of torchvision that this is not installed.
    logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec", FutureWarning)  # of its own
        written = torch.onnx.export(
            program, dynamo=True, verbose=False, input_names=list(part.inputs), output_names=list(part.outputs)
        )
    assert written is not None
    written.save(path)


def _signature(parts: Sequence[Part], files: dict[str, str], config: dict[str, Any], recipe: Any) -> dict[str, Any]:
    """What a caller has to know."""
    programs = {
        part.name: {
            "file": files[part.name],
            "inputs": [
                {
                    "name": name,
                    "type": str(given.example.dtype).removeprefix("torch."),
                    "shape": [axis or size for axis, size in zip(given.axes, given.example.shape, strict=True)],
                }
                for name, given in part.inputs.items()
            ],
            "outputs": list(part.outputs),
        }
        for part in parts
    }
    signature = {"regard": __version__, "task": config["task"], "programs": programs}
    if any(name == "decoder" for name in programs):
        signature["tokens"] = {"padding": PAD, "start": START, "end": END, "unknown": UNKNOWN}
    if hasattr(recipe, "front"):
        front = recipe.front
        signature["features"] = {
            "rate": front.rate,
            "bands": front.bands,
            "window": front.window,
            "step": front.step,
            "kind": "log-mel filter banks of Kaldi, without dither",
        }
    return signature


def read(path: Path) -> Program:
    """A program that was written, ready to run: `.onnx` by ONNX Runtime, `.pt2` by torch."""
    if path.suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        names = [given.name for given in session.get_inputs()]

        def run(arguments: Sequence[Tensor]) -> list[Tensor]:
            arrays = {name: one.numpy() for name, one in zip(names, arguments, strict=True)}
            return [torch.from_numpy(found) for found in session.run(None, arrays)]

        return run
    module = torch.export.load(path).module()

    def call(arguments: Sequence[Tensor]) -> list[Tensor]:
        found = module(*arguments)
        return [found] if isinstance(found, Tensor) else list(found)

    return call


class Kept:
    """What an exported decoder keeps between two steps."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:
        self.tensors = tensors

    def select(self, rows: Int[Tensor, " rows"]) -> None:
        """Keep, drop, reorder or repeat rows."""
        self.tensors = {name: tensor.index_select(0, rows) for name, tensor in self.tensors.items()}


class Exported:
    """A model that writes, as its programs: of the protocol of `models/seq2seq.py`.

    Args:
        folder: that `to_programs` wrote.
    """

    def __init__(self, folder: Path) -> None:
        self.programs = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))["programs"]
        self._run = {name: read(folder / program["file"]) for name, program in self.programs.items()}

    def __call__(self, name: str, arguments: dict[str, Tensor]) -> dict[str, Tensor]:
        """What one of the programs gives; of arguments that it does not take, nothing is read."""
        program = self.programs[name]
        found = self._run[name]([arguments[given["name"]].contiguous() for given in program["inputs"]])
        return dict(zip(program["outputs"], found, strict=True))

    def encode(self, source: Tensor, lengths: Int[Tensor, " batch"]) -> Kept:
        """Read the sources: what the encoder's inputs are, in their order."""
        names = [given["name"] for given in self.programs["encoder"]["inputs"]]
        given = dict(zip(names, (source, lengths), strict=False))
        found = given | self("encoder", given)
        wanted = {one["name"] for one in self.programs["decoder"]["inputs"]}
        return Kept({name: tensor for name, tensor in found.items() if name in wanted})

    def step(self, tokens: Int[Tensor, " rows"], state: Kept) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`; advances the state in place."""
        found = self("decoder", {"tokens": tokens, **state.tensors})
        for name in list(state.tensors):
            if NEW + name in found:
                state.tensors[name] = found[NEW + name]
        return found["logits"]
