"""A model as programs of `torch.export` or of ONNX."""

import json
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch.export import ExportedProgram

from regard import __version__
from regard.export.eight_bits import to_eight_bits
from regard.export.parts import Part, parts_of
from regard.models.tokens import END, PAD, START, UNKNOWN
from regard.training.programs import SIGNATURE
from regard.training.run import RunDirectory

Form = Literal["onnx", "torch"]
Quantization = Literal["float32", "int8"]
# Of a run, what the programs need to predict, evaluate and serve, and what whoever calls them wants.
_BESIDE = ("config.yaml", "tokenizer.json", "labels.json", "language.json")


def to_programs(
    predictor: Any, run: RunDirectory, folder: Path, form: Form, quantization: Quantization = "float32"
) -> list[Part]:
    """Write the programs of a run's model into `folder`, and what they are given and give as `signature.json`.

    Args:
        predictor: that the run was loaded as.
        run: whose configuration, tokenizer and labels go beside them.
        folder: where to.
        form: for which runtime.
        quantization: of the weights, of ONNX alone.

    Raises:
        ValueError: a model that cannot be traced.
    """
    parts = parts_of(predictor.model, predictor.recipe)
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for part in parts:
        path = folder / f"{part.name}.{'onnx' if form == 'onnx' else 'pt2'}"
        _write(part, path, form)
        if quantization == "int8":
            to_eight_bits(path)
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
