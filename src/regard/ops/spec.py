"""What the kernels that keep rows of weights compute, and how csrc/bindings/module.cpp reads it."""

from ast import literal_eval
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from torch import Tensor

NORMALIZERS = {"softmax": 0, "sigmoid": 1, "sparsemax": 2, "entmax15": 3, "sum": 4}
TERMS = {"bias": 0, "hidden": 1, "alibi": 2, "relative": 3, "near": 4}
OBSERVATIONS = {
    "top_k": 0,
    "entropy": 1,
    "received": 2,
    "log_sum_exp": 3,
    "max_score": 4,
    "mass": 5,
    "distance": 6,
    "pooled": 7,
    "rows": 8,
}
DERIVED = ("entropy", "received", "log_sum_exp", "mass", "rows")  # observations with a gradient
MOST_TERMS, MOST_OBSERVATIONS = 8, 32
NONE = -1  # no tensor
_NOWHERE: tuple[int, ...] = (0, 0, 0, 0, 0)


class Term(NamedTuple):
    """What is added to scores; tensors are numbers of extras.

    bias: `(batch, heads, queries, keys)` in float32, each size 1 or whole. hidden: such booleans, False hides a pair.
    alibi: slopes `(heads,)`. relative: a table `(heads, span)` by displacement, the first of `low`. near: the centers
    `(batch, heads, queries)`, and as `factor` 1 / (2 sigma^2). Positions are int32, `(1 or batch, length)`.
    """

    kind: str
    tensor: int
    query_positions: int = NONE
    key_positions: int = NONE
    low: int = 0
    factor: float = 0.0


class Observation(NamedTuple):
    """What is recorded; tensors are numbers of extras.

    top_k: `first` keys. pooled: `first` rows and `second` columns. mass: `chosen` is float32, `(1 or batch, keys)`; all
    keys without. distance: positions. rows: `indices` are int64, `(first,)`.
    """

    kind: str
    first: int = 0
    second: int = 0
    chosen: int = NONE
    query_positions: int = NONE
    key_positions: int = NONE
    indices: int = NONE


class Spec(NamedTuple):
    """A call: `number` is the extra with the sink of a softmax or the bias of a sigmoid, `(heads,)` or `(1,)`."""

    normalizer: str
    cap: float = 0.0  # of scores, before terms are added; 0: none
    factor: float = 1.0  # of the scores of a softmax
    highest: int = 0  # a softmax of the highest scores alone; 0: of all
    number: int = NONE
    terms: tuple[Term, ...] = ()
    observations: tuple[Observation, ...] = ()


@lru_cache(maxsize=256)
def spec_of(text: str) -> Spec:
    spec = Spec(*literal_eval(text))
    terms, observations = (Term(*term) for term in spec.terms), (Observation(*one) for one in spec.observations)
    return spec._replace(terms=tuple(terms), observations=tuple(observations))


def written(spec: Spec) -> str:
    return repr((*spec[:5], tuple(map(tuple, spec.terms)), tuple(map(tuple, spec.observations))))


def have_gradients(spec: Spec) -> list[bool]:
    """Of each tensor that is recorded, whether it has a gradient."""
    return [one.kind in DERIVED for one in spec.observations for _ in range(2 if one.kind == "top_k" else 1)]


def shape_of(one: Observation, sizes: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Of what is recorded, in float32."""
    batch, heads, queries, keys = sizes
    shapes: dict[str, tuple[int, ...]] = {
        "top_k": (queries, one.first),
        "received": (keys,),
        "pooled": (one.first, one.second),
        "rows": (one.first, keys),
    }
    return batch, heads, *shapes.get(one.kind, (queries,))


def _positions(tensors: Sequence[Tensor], number: int) -> tuple[int, int]:
    """Where the rows of an extra begin, and how far they are apart."""
    if number == NONE:
        return 0, 0
    tensor = tensors[number]
    return tensor.data_ptr(), tensor.stride(0) if tensor.shape[0] > 1 else 0


def _shared(tensor: Tensor) -> tuple[int, ...]:
    """Where a tensor of four dimensions lies, the same for all where its size is 1."""
    strides = (stride if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), *strides


def term_arguments(spec: Spec, extras: Sequence[Tensor], gradients: dict[int, Tensor]) -> tuple[Any, ...]:
    """The terms as csrc/bindings/module.cpp reads them; gradients are `(parts, batch, heads, ...)`."""
    made = []
    for term in spec.terms:
        tensor, span = extras[term.tensor], 0
        place: tuple[int, ...]
        if term.kind == "alibi":
            place = (tensor.data_ptr(), 0, tensor.stride(0), 0, 0)
        elif term.kind == "relative":
            span = tensor.shape[1]
            place = (tensor.data_ptr(), 0, tensor.stride(0), 0, tensor.stride(1))
        elif term.kind == "near":
            place = _shared(tensor.unsqueeze(-1))
        else:
            place = _shared(tensor)
        gradient, to, part = gradients.get(term.tensor), _NOWHERE, 0
        if gradient is not None:
            part = gradient.stride(0) if gradient.shape[0] > 1 else 0
            to = _shared(gradient[0])
        made.append(
            (
                TERMS[term.kind],
                place,
                to,
                part,
                *_positions(extras, term.query_positions),
                *_positions(extras, term.key_positions),
                term.low,
                span,
                term.factor,
            )
        )
    return tuple(made)


def observation_arguments(
    spec: Spec, extras: Sequence[Tensor], places: Sequence[tuple[int, int, int]]
) -> tuple[Any, ...]:
    """As above; `places` are the addresses of each one's numbers, its keys, and its gradient."""
    return tuple(
        (
            OBSERVATIONS[one.kind],
            data,
            keys if one.indices == NONE else extras[one.indices].data_ptr(),
            one.first,
            one.second,
            *_positions(extras, one.chosen),
            *_positions(extras, one.query_positions),
            *_positions(extras, one.key_positions),
            gradient,
        )
        for one, (data, keys, gradient) in zip(spec.observations, places, strict=True)
    )


def row_arguments(
    spec: Spec,
    extras: Sequence[Tensor],
    number_gradient: Tensor | None,
    apart: tuple[bool, bool],
    parts: int,
    terms: tuple[Any, ...],
    observations: tuple[Any, ...],
) -> tuple[Any, ...]:
    number = None if spec.number == NONE else extras[spec.number]
    return (
        NORMALIZERS[spec.normalizer],
        spec.cap,
        spec.factor,
        spec.highest,
        0 if number is None else number.data_ptr(),
        0 if number is None or len(number) == 1 else number.stride(0),
        0 if number_gradient is None else number_gradient.data_ptr(),
        *apart,
        parts,
        terms,
        observations,
    )
