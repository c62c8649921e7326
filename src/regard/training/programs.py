"""Programs of `torch.export` or of ONNX that `regard export` wrote: read, and called as the model itself is."""

import json
from collections import namedtuple
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.models.recognizer import Heard
from regard.nn.conformer import quarter

Program = Callable[[Sequence[Tensor]], list[Tensor]]
SIGNATURE = "signature.json"
LABELS = "labels"  # of CTC, among what a recognizer's program gives
NEW = "new_"  # before the name of what a step changed


def read(path: Path) -> Program:
    """A program that was written, ready to run: `.onnx` by ONNX Runtime, `.pt2` by torch.

    Raises:
        ValueError: there is no such program, or it is damaged.
    """
    if not path.is_file():
        raise ValueError(f"there is no program {path}: take it from a copy of the export")
    if path.suffix == ".onnx":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of its own kinds
            raise ValueError(f"{path} is damaged, or no program of ONNX: {' '.join(str(error).split())}") from error
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


class Exported(nn.Module):
    """A model as its programs, in the place of the model they came from; one that writes is of the protocol of
    `models/seq2seq.py`.

    Args:
        folder: that `regard export` wrote.
        forms: of programs that are read. Those of ONNX execute nothing but their operators; torch reads its own by
            pickle, which may execute anything.

    Raises:
        ValueError: a damaged folder, or programs of another form.
    """

    def __init__(self, folder: Path, forms: Sequence[str] = (".onnx",)) -> None:
        super().__init__()
        try:
            self.programs = json.loads((folder / SIGNATURE).read_text(encoding="utf-8"))["programs"]
            paths = {name: folder / Path(program["file"]).name for name, program in self.programs.items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{folder / SIGNATURE} is damaged ({error}): take it from a copy of the export") from None
        if other := next((path for path in paths.values() if path.suffix not in forms), None):
            raise ValueError(f"{other} is read by pickle, which may execute anything: export the run --to onnx")
        self._run = {name: read(path) for name, path in paths.items()}

    def call(self, name: str, arguments: dict[str, Tensor]) -> dict[str, Tensor]:
        """What one of the programs gives; of arguments that it does not take, nothing is read."""
        program = self.programs[name]
        found = self._run[name]([arguments[given["name"]].contiguous() for given in program["inputs"]])
        return dict(zip(program["outputs"], found, strict=True))

    def forward(self, *arguments: Tensor) -> Any:
        """What the program `model` gives: a tensor, or several by their names."""
        program = self.programs["model"]
        found = self._run["model"]([one.contiguous() for one in arguments])
        return found[0] if len(found) == 1 else namedtuple("Found", program["outputs"])(*found)

    def hear(self, features: Float[Tensor, "batch frames bands"], frames: Int[Tensor, " batch"]) -> Heard:
        """What is known of recordings, as a recognizer's own `hear` says it."""
        given = {"features": features, "frames": frames}
        if "decoder" not in self.programs:
            return Heard(labels=self.call("model", given)[LABELS], lengths=quarter(frames), begin=None)
        found = self.call("encoder", given)
        return Heard(labels=found[LABELS], lengths=quarter(frames), begin=lambda: self._kept(given | found))

    def encode(self, source: Tensor, lengths: Int[Tensor, " batch"]) -> Kept:
        """Read the sources: what the encoder's inputs are, in their order."""
        names = [given["name"] for given in self.programs["encoder"]["inputs"]]
        given = dict(zip(names, (source, lengths), strict=False))
        return self._kept(given | self.call("encoder", given))

    def step(self, tokens: Int[Tensor, " rows"], state: Kept) -> Float[Tensor, "rows vocabulary"]:
        """Logits of the token after `tokens`; advances the state in place."""
        found = self.call("decoder", {"tokens": tokens, **state.tensors})
        for name in list(state.tensors):
            if NEW + name in found:
                state.tensors[name] = found[NEW + name]
        return found["logits"]

    def _kept(self, tensors: dict[str, Tensor]) -> Kept:
        """What the decoder wants of these."""
        wanted = {given["name"] for given in self.programs["decoder"]["inputs"]}
        return Kept({name: tensor for name, tensor in tensors.items() if name in wanted})
