"""ONNX's operator `Attention` (opsets 23 to 25) as calls of the mechanism, and its conformance cases.

The wheel of `onnx` holds no data: a case is made when the test module of its operator is imported. That is done in a
process of its own, `python onnx_attention.py FILE`, which leaves tensors and numbers in FILE and nothing in memory.
"""

import importlib
import sys
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

import regard
from regard.attention.masks import Mask
from regard.attention.observations import Matrices, Observation
from regard.attention.scores import Score

OPERATOR = "Attention"
INPUTS = ("query", "key", "value", "attn_mask", "past_key", "past_value", "nonpad_kv_seqlen")
ATTRIBUTES = {
    "is_causal",
    "kv_num_heads",
    "left_window_size",
    "q_num_heads",
    "qk_matmul_output_mode",
    "right_window_size",
    "scale",
    "softcap",
    "softmax_precision",  # Regard's is float32, or the inputs' where that is wider
}


class AllowedScores(Observation):
    """Every score, -inf where it may not be seen: an observation of one's own."""

    def of(self, matrices: Matrices) -> Tensor:
        return matrices.allowed_scores


@dataclass(frozen=True, kw_only=True)
class Case:
    """One conformance case: the operator's attributes and inputs, and the outputs it must give, by name."""

    attributes: dict[str, int | float]
    inputs: dict[str, Tensor]
    outputs: dict[str, Tensor]
    rtol: float
    atol: float

    def run(self, backend: str) -> dict[str, Tensor]:
        """The outputs, from the mechanism."""
        if unknown := self.attributes.keys() - ATTRIBUTES:
            raise NotImplementedError(f"{OPERATOR} has attributes that are new: {sorted(unknown)}")
        query, key, value = (self._heads(name) for name in INPUTS[:3])
        past = self.inputs.get("past_key")
        if past is not None:
            key, value = torch.cat((past, key), 2), torch.cat((self.inputs["past_value"], value), 2)
        queries, keys = query.shape[2], key.shape[2]

        lengths = self.inputs.get("nonpad_kv_seqlen")
        offset: int | Tensor = 0 if past is None else past.shape[2]
        if lengths is not None:
            offset = lengths - queries
        stages, mask = self._scores(), self._mask(queries, keys)
        added = self.inputs.get("attn_mask")
        if added is not None and added.is_floating_point():
            added = torch.nn.functional.pad(added, (0, keys - added.shape[-1]), value=-torch.inf)
            stages.append(stages[-1] + regard.Bias(added))
        call: dict[str, Any] = {"score": stages[-1], "mask": mask, "offset": offset}

        context = regard.attend(query, key, value, **call, backend=backend)
        if self.inputs["query"].ndim == 3:
            context = context.transpose(1, 2).flatten(2)
        outputs = {"Y": context, "present_key": key, "present_value": value}
        if "qk_matmul_output" in self.outputs:
            mode = self.attributes.get("qk_matmul_output_mode", 0)
            if mode < 2:  # before the cap, or after it; in both before the mask
                call = {"score": stages[mode]}
            _, seen = regard.observe(
                query, key, value, **call, record={"it": regard.Weights() if mode == 3 else AllowedScores()}
            )
            outputs["qk_matmul_output"] = seen["it"].to(query.dtype)
        return {name: outputs[name] for name in self.outputs}

    def _heads(self, name: str) -> Tensor:
        """(batch, heads, length, width), split from (batch, length, heads width) where it comes so."""
        tensor = self.inputs[name]
        if tensor.ndim == 4:
            return tensor
        heads = self.attributes["q_num_heads" if name == "query" else "kv_num_heads"]
        return tensor.unflatten(-1, (int(heads), -1)).transpose(1, 2)

    def _scores(self) -> list[Score]:
        """The score before the cap, and after it."""
        score, cap = regard.ScaledDot(self.attributes.get("scale")), self.attributes.get("softcap", 0.0)
        return [score, regard.SoftCap(score, cap) if cap else score]

    def _mask(self, queries: int, keys: int) -> Mask | None:
        """Everything that hides a key, but for a floating-point `attn_mask`, which is a term of the score."""
        parts: list[Mask] = []
        if self.attributes.get("is_causal", 0):
            parts.append(regard.Causal())
        sides = [int(self.attributes.get(f"{side}_window_size", -1)) for side in ("left", "right")]
        if max(sides) >= 0:
            parts.append(regard.Window(*(queries + keys if size < 0 else size for size in sides)))
        if "nonpad_kv_seqlen" in self.inputs:
            parts.append(regard.Lengths(self.inputs["nonpad_kv_seqlen"]))
        given = self.inputs.get("attn_mask")
        if given is not None and given.dtype == torch.bool:
            parts.append(regard.Dense(torch.nn.functional.pad(given, (0, keys - given.shape[-1]))))
        whole: Mask | None = None
        for part in parts:
            whole = part if whole is None else whole & part
        return whole


def collect() -> dict[str, dict[str, Any]]:
    """Every case of the operator by name, as `Case` takes it; and its twins, without their fields.

    A twin writes the operator out as a graph of others: the same inputs, and the same outputs.
    """
    from onnx import helper
    from onnx.backend.test.case import node as cases

    # Only this operator's module: to import those of all the others takes twenty times as long.
    cases.import_recursive = lambda package: importlib.import_module(f"{package.__name__}.{OPERATOR.lower()}")
    collected: dict[str, dict[str, Any]] = {}
    for case in cases.collect_testcases(OPERATOR):
        nodes = case.model.graph.node
        if [node.op_type for node in nodes] != [OPERATOR]:
            collected[case.name] = {}
            continue
        [(inputs, outputs)] = case.data_sets
        names = [name for name, given in zip(INPUTS, nodes[0].input, strict=False) if given]
        collected[case.name] = {
            "attributes": {item.name: helper.get_attribute_value(item) for item in nodes[0].attribute},
            "inputs": dict(zip(names, map(_tensor, inputs), strict=True)),
            "outputs": dict(zip(filter(None, nodes[0].output), map(_tensor, outputs), strict=True)),
            "rtol": case.rtol,
            "atol": case.atol,
        }
    return collected


def _tensor(array: Any) -> Tensor:
    if array.dtype.name == "bfloat16":  # which torch does not know as numpy's
        return torch.from_numpy(array.view("int16")).view(torch.bfloat16)
    return torch.from_numpy(array)


if __name__ == "__main__":
    torch.save(collect(), sys.argv[1])
