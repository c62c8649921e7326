"""The table of what each backend can do; it drives dispatch, `plan`, the docs page and the parity tests."""

from collections.abc import Callable, Iterable
from enum import Enum
from importlib import import_module

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import AdditiveScores, DotScores
from regard.attention.normalizers import Softmax
from regard.attention.observations import TopKeys


class Feature(Enum):
    """Something a call may need; the value is how messages and the docs name it."""

    DOT = "dot scores (Dot, ScaledDot, General)"
    ADDITIVE = "additive scores (Additive)"
    UNFUSED = "scores without a fused form"
    SOFT_CAP = "a soft cap"
    BIAS = "a bias"
    BIAS_GRADIENT = "the gradient of a bias"
    SOFTMAX = "softmax"
    OTHER_NORMALIZER = "normalisers other than softmax"
    MASK = "masks"
    GROUPED_HEADS = "grouped heads"
    VALUE_WIDTH = "values of another width than the keys"
    DROPOUT = "dropout"
    OBSERVE = "observations"
    SECOND_DERIVATIVES = "second derivatives"
    HIDDEN_NAN = "NaN where no query may look reaching nothing"


_ALL = frozenset(Feature)
_SDPA = frozenset(
    {
        Feature.DOT,
        Feature.BIAS,
        Feature.SOFTMAX,
        Feature.MASK,
        Feature.GROUPED_HEADS,
        Feature.VALUE_WIDTH,
    }
)

#: The backends, and what each can do; in the order in which `auto` prefers them.
TABLE: dict[str, frozenset[Feature]] = {"sdpa": _SDPA, "reference": _ALL}

#: Features that are promises rather than needs of a call: no call asks for them, the parity tests do.
PROMISES = frozenset({Feature.SECOND_DERIVATIVES, Feature.HIDDEN_NAN})

Runner = Callable[[Call], tuple[Tensor, dict[str, Tensor | TopKeys]]]


def needs(call: Call) -> frozenset[Feature]:
    """What this call asks of a backend."""
    lowered = call.lowered
    bias = None if lowered is None else lowered.bias
    asked = {
        Feature.DOT: isinstance(lowered, DotScores),
        Feature.ADDITIVE: isinstance(lowered, AdditiveScores),
        Feature.UNFUSED: lowered is None,
        Feature.SOFT_CAP: isinstance(lowered, DotScores) and lowered.softcap is not None,
        Feature.BIAS: bias is not None,
        Feature.BIAS_GRADIENT: bias is not None and bias.requires_grad and torch.is_grad_enabled(),
        Feature.SOFTMAX: isinstance(call.normalize, Softmax),
        Feature.OTHER_NORMALIZER: not isinstance(call.normalize, Softmax),
        Feature.MASK: call.mask is not None,
        Feature.GROUPED_HEADS: call.place.heads != call.value.shape[1],
        Feature.VALUE_WIDTH: call.value.shape[-1] != call.query.shape[-1],
        Feature.DROPOUT: call.dropout > 0.0,
        Feature.OBSERVE: bool(call.record),
    }
    return frozenset(feature for feature, needed in asked.items() if needed)


def choose(call: Call, backend: str) -> str:
    """The backend that runs this call: the one named, or for "auto" the first of the table that can.

    Raises:
        ValueError: if the backend is unknown, or lacks something that the call needs.
    """
    if backend == "auto":
        return next(name for name in TABLE if not lacks(call, name))
    if backend not in TABLE:
        raise ValueError(f'unknown backend "{backend}"; expected one of "auto", {_quoted(TABLE)}')
    missing = lacks(call, backend)
    if missing:
        able = [name for name in TABLE if not lacks(call, name)]
        raise ValueError(
            f'backend "{backend}" lacks what this call needs: {"; ".join(missing)}. '
            f'It runs on {_quoted(able)}: pass backend="{able[0]}", or backend="auto"'
        )
    return backend


def lacks(call: Call, backend: str) -> list[str]:
    """What the call needs and the backend does not have, in words; empty if it can run."""
    return sorted(feature.value for feature in needs(call) - TABLE[backend])


def runner(backend: str) -> Runner:
    """The function that runs a call; its module is imported at first use."""
    return import_module(f"regard.attention.backends.{backend}").run


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def table() -> str:
    """The table as Markdown, for the docs and `regard doctor`."""
    rows = [f"| | {' | '.join(f'`{name}`' for name in TABLE)} |", f"|---|{'---|' * len(TABLE)}"]
    for feature in Feature:
        rows.append(f"| {feature.value} | {' | '.join('yes' if feature in TABLE[name] else '-' for name in TABLE)} |")
    return "\n".join(rows)
