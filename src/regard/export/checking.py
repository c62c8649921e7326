"""Programs beside the model that they came from: the same numbers, at sizes that were not traced; the same outputs."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.data.tokenizer import SPECIAL
from regard.decoding import Greedy, search
from regard.export.parts import Part
from regard.export.programs import Quantization
from regard.training.programs import Exported

_SIZES = {"rows": 3, "source": 13, "frames": 94, "height": 70, "width": 107}
_LEAST_FRAMES = 20
_ROUNDS = 3
_LONGEST = 20  # tokens of the outputs that are compared
# Most of them: where two things are as likely to the last bit, sums of another order choose the other.
_SAME_OUTPUTS = 0.9


@dataclass(frozen=True, kw_only=True)
class Nearness:
    """How near numbers have to be: this share of them within so much of the largest, which is said in words."""

    share: float
    within: float
    words: str


_NEARNESS: dict[Quantization, Nearness] = {
    "float32": Nearness(share=0.98, within=1e-3, words="what it gives"),
    "int8": Nearness(share=0.5, within=0.1, words="half of what it gives"),
}


def check_programs(
    model: nn.Module, parts: Sequence[Part], folder: Path, quantization: Quantization = "float32"
) -> str:
    """Run what was written for random inputs; what came of it, in words.

    In 8 bits numbers have to be near, and outputs may be others.

    Raises:
        ValueError: programs that give something else.
    """
    exported, first, nearness = Exported(folder, (".onnx", ".pt2")), parts[0], _NEARNESS[quantization]
    generator = torch.Generator().manual_seed(1)
    worst, same, outputs = 0.0, 0, 0
    for _ in range(_ROUNDS):
        inputs = drawn(first, generator)
        with torch.no_grad():
            found = first.module(*inputs.values())
        expected = [found] if isinstance(found, Tensor) else list(found)
        for name, one, other in zip(first.outputs, expected, exported.call(first.name, inputs).values(), strict=True):
            worst = max(worst, _difference(one, other, f"{name} of {folder}", nearness))
        if len(parts) > 1:
            source, *rest = inputs.values()
            lengths = rest[0] if rest else torch.ones(len(source), dtype=torch.long)
            pairs = [_written(any_model, source, lengths) for any_model in (model, exported)]
            same += sum(one == other for one, other in zip(*pairs, strict=True))
            outputs += len(source)
    if quantization == "float32" and same < _SAME_OUTPUTS * outputs:
        raise ValueError(f"only {same} of {outputs} outputs of {folder} are those of the model; please report it")
    numbers = f"{nearness.words} for random inputs is the model's within {worst:.1g}"
    return f"{numbers}; {same} of {outputs} outputs are the same" if outputs else numbers


def drawn(part: Part, generator: torch.Generator) -> dict[str, Tensor]:
    """Random inputs of other sizes than the example."""
    tables = (one.num_embeddings for one in part.module.modules() if isinstance(one, nn.Embedding))
    vocabulary = next(tables, 0)
    found = {}
    for name, given in part.inputs.items():
        sizes = [
            _size(part, axis) if axis else size for axis, size in zip(given.axes, given.example.shape, strict=True)
        ]
        match given.example.dtype:
            case torch.uint8:
                found[name] = torch.randint(256, sizes, generator=generator).byte()
            case torch.float32:
                found[name] = torch.randn(sizes, generator=generator)
            case _ if len(sizes) > 1:
                found[name] = torch.randint(len(SPECIAL), vocabulary, sizes, generator=generator)
            case _:
                least = _LEAST_FRAMES if name == "frames" else 1
                longest = _SIZES["frames" if name == "frames" else "source"]
                found[name] = torch.randint(least, longest + 1, sizes, generator=generator)
    return found


def _size(part: Part, axis: str) -> int:
    """Another size than that of the example, of pictures one that the program takes."""
    size = _SIZES[axis]
    return part.multiple * max(3, size // part.multiple) if axis in ("height", "width") else size


def _difference(one: Tensor, other: Tensor, what: str, nearness: Nearness) -> float:
    """By how much two differ, as a share of the largest number; but for the few numbers that may be further."""
    if one.shape != other.shape:
        raise ValueError(f"{what} has the shape {tuple(other.shape)}, and of the model {tuple(one.shape)}")
    if not one.numel():
        return 0.0
    apart = (one.double() - other.double()).abs() / one.double().abs().max().clamp_min(1.0)
    worst = float(apart.flatten().kthvalue(math.ceil(nearness.share * apart.numel())).values)
    if worst > nearness.within:
        far = 100 * float((apart > nearness.within).double().mean())
        raise ValueError(f"{what}: {far:.1f}% of the numbers are not those of the model; please report it")
    return worst


def _written(model: Any, source: Tensor, lengths: Tensor) -> list[tuple[int, ...]]:
    return [found[0].tokens for found in search(model, source, lengths, Greedy(max_length=_LONGEST))]
