"""What a decoder keeps between two steps, as tensors that have names: whoever runs a program keeps them for it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention.padding import Lengths
from regard.attention.scores import Prepared
from regard.models.captioner import LookingState, ShowAttendTell
from regard.models.pointer import PointerState
from regard.models.recognizer import Recognizer
from regard.models.recurrent import RecurrentSeq2Seq, RecurrentState
from regard.models.speller import Speller, SpellingState
from regard.models.transformer import TransformerState
from regard.nn.blocks import BlockCache
from regard.nn.cache import KeyValueCache
from regard.ops.columns import split_heads

State = TransformerState | RecurrentState | LookingState | SpellingState
# Those that a step changes; the others stay as the encoder gave them. "past" grows by one position a step.
CHANGES = ("past", "hidden", "cell", "context", "looked")


class Grown(KeyValueCache):
    """A cache whose room is what it holds, as a graph wants it: a step gives a new tensor."""

    def __init__(self, both: Float[Tensor, "rows 2 heads keys head_dim"]) -> None:
        super().__init__()
        self._key, self._value = both.unbind(1)
        self.length = both.shape[3]

    def append(self, key: Tensor, value: Tensor) -> None:
        self._key, self._value = torch.cat((self.key, key), 2), torch.cat((self.value, value), 2)
        self.length = self._key.shape[2]

    @property
    def both(self) -> Float[Tensor, "rows 2 heads keys head_dim"]:
        """Keys and values as one tensor."""
        return torch.stack((self.key, self.value), 1)


def to_tensors(model: object, state: State) -> dict[str, Tensor]:
    """The state of `model` as tensors, each with a row for each row of it.

    Of a Transformer's blocks keys and values lie in one tensor each, `(rows, blocks, 2, heads, keys, head_dim)`: of the
    source `memory`, of what was written `past`.
    """
    match state:
        case TransformerState():
            found = {"lengths": state.lengths, "memory": _memory(model, state), "past": _past(model, state)}
            if isinstance(state, PointerState):
                found |= {"source": state.source, "read": state.memory, "keys": state.keys}
            return found
        case RecurrentState():
            found = {"lengths": state.lengths, "read": state.memory, "hidden": state.hidden}
            return found if state.keys is None else found | {"keys": state.keys.keys}
        case LookingState():
            return {"read": state.places, "keys": state.keys.keys, "hidden": state.hidden, "cell": state.cell}
    return {
        "lengths": state.lengths,
        "read": state.memory,
        "keys": state.keys.keys,
        "hidden": state.hidden,
        "cell": state.cell,
        "context": state.context,
        "looked": state.looked,
    }


def to_state(model: object, tensors: dict[str, Tensor]) -> State:
    """The state of `model` that these tensors are."""
    match model:
        case RecurrentSeq2Seq():
            keys = None if model.score is None else Prepared(model.score, tensors["keys"])
            lengths = tensors["lengths"]
            return RecurrentState(tensors["hidden"], tensors["read"], lengths, keys, Lengths(lengths))
        case ShowAttendTell():
            keys = Prepared(model.score, tensors["keys"])
            return LookingState(tensors["hidden"], tensors["cell"], tensors["read"], keys)
        case Recognizer(decoder=Speller() as speller):
            keys = Prepared(speller.score, tensors["keys"])
            hidden, cell, context = tensors["hidden"], tensors["cell"], tensors["context"]
            return SpellingState(hidden, cell, context, tensors["read"], tensors["lengths"], keys, tensors["looked"])
    blocks = zip(tensors["past"].unbind(1), tensors["memory"].unbind(1), strict=True)
    caches = [BlockCache(Grown(own), Grown(cross)) for own, cross in blocks]
    if "source" in tensors:
        return PointerState(tensors["read"], tensors["lengths"], caches, tensors["source"], tensors["keys"])
    # Its keys and values are in the caches: of the memory itself nothing is read.
    rows, dim = tensors["lengths"].shape[0], _blocks(model)[0].cross.query.in_features
    nothing = tensors["memory"].new_empty(rows, 0, dim)
    return TransformerState(nothing, tensors["lengths"], caches)


def _blocks(model: Any) -> list[Any]:
    return list(model.decoder.layers)


def _memory(model: object, state: TransformerState) -> Tensor:
    """Keys and values of the source, of all blocks."""
    found = []
    for block in _blocks(model):
        cross = block.cross
        pair = split_heads(cross.key_value(state.memory), (cross.kv_heads, cross.kv_heads), cross.head_dim)
        found.append(torch.stack(list(pair), 1))
    return torch.stack(found, 1)


def _past(model: object, state: TransformerState) -> Tensor:
    """Keys and values of what was written, of all blocks; at the beginning nothing."""
    held = [cache.own for cache in state.caches]
    if all(isinstance(cache, Grown) for cache in held):
        return torch.stack([cache.both for cache in held if isinstance(cache, Grown)], 1)
    own = _blocks(model)[0].attention
    return state.memory.new_empty(state.lengths.shape[0], len(held), 2, own.kv_heads, 0, own.head_dim)
