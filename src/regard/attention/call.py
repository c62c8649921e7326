"""One call of the mechanism, checked: what every backend receives."""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from regard.attention.cached import cached
from regard.attention.lowering import Lowered, LoweredMask, lower_mask
from regard.attention.masks import Mask
from regard.attention.normalizers import Normalizer, Softmax, Sum
from regard.attention.observations import Entropy, Observation, Total
from regard.attention.padding import placed
from regard.attention.place import Place
from regard.attention.scores import Prepared, ScaledDot, Score
from regard.attention.similarities import Kernel

_SOFTMAX = Softmax()
# Asked once: not every torch can ask within a graph.
_AUTOCASTS = frozenset(filter(torch.amp.is_autocast_available, ("cpu", "cuda", "xpu", "mps", "hpu", "mtia")))
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


@dataclass(frozen=True, eq=False, kw_only=True)
class Call:
    """The arguments of `attend` with their defaults filled in; `checked_call` makes it."""

    query: Tensor
    key: Tensor
    value: Tensor
    prepared: bool  # whether the score has projected `key` already
    score: Score
    normalize: Normalizer
    mask: Mask | None
    place: Place
    dropout: float = 0.0
    seed: int = 0
    record: dict[str, Observation] = field(default_factory=dict)

    @cached
    def lowered(self) -> Lowered | None:
        """The scores as a primitive, or None where they have no fused form."""
        return self.score.lower(self.query, self.key, self.prepared, self.place)

    @cached
    def lowered_mask(self) -> LoweredMask | None:
        """The mask as intervals or dense, or None where there is no mask."""
        return None if self.mask is None else lower_mask(self.mask, self.place)


def checked_call(
    query: Tensor,
    key: Tensor | Prepared,
    value: Tensor,
    *,
    score: Score | None,
    normalize: Normalizer | None,
    mask: Mask | None,
    offset: int | Tensor,
    dropout: float,
    record: dict[str, Observation],
) -> Call:
    """Check the arguments of a call, each error in the user's words, and fill in the defaults."""
    score = ScaledDot() if score is None else score
    normalize = _SOFTMAX if normalize is None else normalize
    for name, thing, kind, example in (
        ("score", score, Score, "regard.ScaledDot()"),
        ("normalize", normalize, Normalizer, "regard.Softmax()"),
        ("mask", mask, Mask | None, "regard.Causal()"),
    ):
        if not isinstance(thing, kind):
            hint = f"; write {thing.__name__}()" if isinstance(thing, type) else ""
            if name == "mask" and isinstance(thing, Tensor):
                hint = "; a boolean tensor (True = may attend) is mask=regard.Dense(tensor)"
            given = thing.__name__ if isinstance(thing, type) else type(thing).__name__
            raise TypeError(f"{name} takes a value such as {example}, got {given}{hint}")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout is the probability of dropping a weight, 0 <= dropout < 1; got {dropout}")
    prepared = isinstance(key, Prepared)
    if isinstance(key, Prepared):
        if key.score is not score:
            raise ValueError("key was prepared by another score; pass the score that prepared it: score=prepared.score")
        key = key.keys
    _check_tensors(query, key, value)
    if query.device.type in _AUTOCASTS and torch.is_autocast_enabled(query.device.type):
        dtype = torch.get_autocast_dtype(query.device.type)
        query, key, value = (
            tensor if tensor.dtype == torch.float64 else tensor.to(dtype) for tensor in (query, key, value)
        )
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            f"query, key and value must share a dtype, got {query.dtype}, {key.dtype} and {value.dtype}; "
            "cast them: key.to(query.dtype)"
        )
    place = _place(query, key, mask, offset)
    if isinstance(normalize, Sum) and not isinstance(score, Kernel):
        raise ValueError(
            f"Sum divides scores by their sum, so they may not be negative, as {score!r} may be: use it with "
            'score=regard.Kernel("elu+1"), or normalize=regard.Softmax()'
        )
    normalize.check(place)
    record = recording(normalize, place, record)
    score.check(tuple(query.shape), tuple(key.shape), prepared, place)
    for part in mask.parts() if mask is not None else ():
        part.check(place)
    return Call(
        query=query,
        key=key,
        value=value,
        prepared=prepared,
        score=score,
        normalize=normalize,
        mask=mask,
        place=place,
        dropout=dropout,
        record=record,
    )


def recording(normalize: Normalizer, place: Place, record: dict[str, Observation]) -> dict[str, Observation]:
    """What is recorded: what was asked for, checked, and the totals without which an entropy says little."""
    for item in record.values():
        item.check(place)
    if not normalize.sums_to_one and "total" not in record and any(isinstance(i, Entropy) for i in record.values()):
        return {**record, "total": Total()}
    return record


def check_each(query: Tensor, key: Tensor, value: Tensor) -> None:
    """Raise TypeError or ValueError if one of the three is no tensor that attention could be computed of."""
    for name, tensor in {"query": query, "key": key, "value": value}.items():
        if not isinstance(tensor, Tensor):
            raise TypeError(f"{name} must be a tensor, got {type(tensor).__name__}")
        if tensor.ndim != 4:
            raise ValueError(
                f"{name} must have 4 dimensions, (batch, heads, length, width), got shape {tuple(tensor.shape)}; "
                f"from (batch, length, width) make one head: {name}.unsqueeze(1)"
            )
        if not tensor.dtype.is_floating_point:
            raise TypeError(f"{name} must be floating-point, got {tensor.dtype}")
        if tensor.device != query.device:
            raise ValueError(
                f"query is on {query.device} but {name} is on {tensor.device}; move it: {name}.to(query.device)"
            )


def _check_tensors(query: Tensor, key: Tensor, value: Tensor) -> None:
    check_each(query, key, value)
    names = {"query": query, "key": key, "value": value}
    if not query.shape[0] == key.shape[0] == value.shape[0]:
        raise ValueError(f"query, key and value must have one batch size, got {_shapes(names)}")
    if key.shape[1:3] != value.shape[1:3]:
        raise ValueError(
            f"each key needs one value: key and value must agree in kv_heads and keys, got {_shapes(names)}"
        )
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise ValueError(
            f"heads must be a multiple of kv_heads (query head h reads kv head h // (heads / kv_heads)), "
            f"got {query.shape[1]} heads and {key.shape[1]} kv_heads: {_shapes(names)}"
        )


def _shapes(tensors: dict[str, Tensor]) -> str:
    return ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in tensors.items())


def _place(query: Tensor, key: Tensor, mask: Mask | None, offset: int | Tensor) -> Place:
    rows = isinstance(offset, Tensor) and offset.dtype in _INTEGERS and offset.shape in ((), query.shape[:1])
    if not rows and not isinstance(offset, int | torch.SymInt):
        given = f"shape {tuple(offset.shape)} of {offset.dtype}" if isinstance(offset, Tensor) else repr(offset)
        raise ValueError(
            f"offset is an int or an integer tensor with one entry per batch row, (batch,) = ({query.shape[0]},); "
            f"got {given}"
        )
    batch, heads, queries, _ = query.shape
    if isinstance(offset, Tensor) and offset.ndim == 0:
        offset = offset.expand(batch) if torch.compiler.is_compiling() else int(offset)
    place = Place(batch=batch, heads=heads, queries=queries, keys=key.shape[2], offset=offset, device=query.device)
    return placed(place, mask)
