"""The table of what each backend can do; it drives dispatch, `plan`, the docs page and the parity tests."""

from collections.abc import Callable, Iterable
from enum import Enum

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.layouts import Dense
from regard.attention.masks import Causal
from regard.attention.normalizers import Entmax, Entmax15, Hard, Sigmoid, Softmax, Sparsemax, Sum, TopKSoftmax
from regard.attention.observations import TopKeys
from regard.attention.padding import shares_keys
from regard.attention.scores import Score
from regard.attention.similarities import Kernel
from regard.attention.spec import MOST_OBSERVATIONS, MOST_TERMS, knows_observation, knows_term
from regard.attention.terms import Bias
from regard.ops import native
from regard.ops.following import transformed

LARGEST = 2**24  # pairs of a mask or a term that a backend without LARGE may hold as a tensor
LARGEST_ELSEWHERE = 2**28  # on a GPU, whose fused kernels are worth more memory


class Feature(Enum):
    """Something a call may need; the value is how messages and the docs name it."""

    DOT = "dot products (Dot, ScaledDot, General, Cosine, Gaussian)"
    KERNEL = "feature maps (Kernel)"
    ADDITIVE = "additive scores (Additive, LocationAware)"
    PAIRS = "scores of any other form (Network, RelativeKeys, a soft cap around terms, your own)"
    SOFT_CAP = "a soft cap around a dot product"
    BIAS = "a bias (Bias)"
    POSITION = "terms by position (Alibi, RelativeBias, Near)"
    OTHER_TERM = f"terms of your own, or more than {MOST_TERMS}"
    TERM_GRADIENT = "the gradient of a term"
    SOFTMAX = "softmax (Softmax)"
    SINK = "softmax with a sink"
    SIGMOID = "sigmoid (Sigmoid)"
    SPARSE = "sparse normalisers (Sparsemax, Entmax15, TopKSoftmax)"
    ENTMAX = "entmax of any alpha (Entmax)"
    HARD = "hard attention (Hard)"
    SUM = "division by the sum (Sum)"
    OTHER_NORMALIZER = "a normaliser of your own"
    SHARED_MASK = "masks whose queries share keys (Causal, Lengths, Documents, joined by &)"
    MASK = "other masks, of at most two intervals of keys a query (Window, Prefix, |)"
    PATTERN = "masks of any pattern (Dense, Strided, Blocks)"
    GROUPED_HEADS = "grouped heads"
    VALUE_WIDTH = "values of another width than the keys"
    DROPOUT = "dropout"
    OBSERVE = "observations"
    OTHER_OBSERVATION = f"observations of your own, or more than {MOST_OBSERVATIONS}"
    LARGE = f"masks and terms on more than {LARGEST:,} pairs ({LARGEST_ELSEWHERE:,} on a GPU)"
    LARGE_PATTERN = f"masks of any pattern but Dense on more than {LARGEST:,} pairs ({LARGEST_ELSEWHERE:,} on a GPU)"
    SECOND_DERIVATIVES = "second derivatives"
    HIDDEN_NAN = "NaN where no query may look reaching nothing"
    FLOAT64 = "float64"
    FLOAT16 = "float16"
    ACCELERATOR = "tensors on another device than the CPU"
    EXPORT = "torch.export, ONNX"
    TRANSFORM = "torch.func's transforms (vmap, grad), torch.jit.trace"
    LINEAR_MEMORY = "memory in O(n)"
    LINEAR_TIME = "time in O(n)"


_STREAMED = frozenset(Feature) - {Feature.LINEAR_TIME}
_REFERENCE = _STREAMED - {Feature.LINEAR_MEMORY}
_SDPA = frozenset(
    {
        Feature.DOT,
        Feature.KERNEL,
        Feature.BIAS,
        Feature.POSITION,
        Feature.OTHER_TERM,
        Feature.SOFTMAX,
        Feature.SHARED_MASK,
        Feature.MASK,
        Feature.PATTERN,
        Feature.GROUPED_HEADS,
        Feature.VALUE_WIDTH,
        Feature.FLOAT64,
        Feature.FLOAT16,
        Feature.ACCELERATOR,
        Feature.EXPORT,
        Feature.TRANSFORM,
    }
)
_NATIVE = frozenset(
    {
        Feature.DOT,
        Feature.KERNEL,
        Feature.ADDITIVE,
        Feature.SOFT_CAP,
        Feature.BIAS,
        Feature.POSITION,
        Feature.TERM_GRADIENT,
        Feature.SOFTMAX,
        Feature.SINK,
        Feature.SIGMOID,
        Feature.SPARSE,
        Feature.SUM,
        Feature.SHARED_MASK,
        Feature.MASK,
        Feature.PATTERN,
        Feature.GROUPED_HEADS,
        Feature.VALUE_WIDTH,
        Feature.DROPOUT,
        Feature.OBSERVE,
        Feature.LARGE,
        Feature.FLOAT16,
        Feature.HIDDEN_NAN,
        Feature.LINEAR_MEMORY,
    }
)
_LINEAR = frozenset(
    {
        Feature.KERNEL,
        Feature.SUM,
        Feature.SHARED_MASK,
        Feature.GROUPED_HEADS,
        Feature.VALUE_WIDTH,
        Feature.LARGE,
        Feature.FLOAT64,
        Feature.FLOAT16,
        Feature.ACCELERATOR,
        Feature.EXPORT,
        Feature.TRANSFORM,
        Feature.SECOND_DERIVATIVES,
        Feature.LINEAR_MEMORY,
        Feature.LINEAR_TIME,
    }
)

#: The backends, and what each can do; in the order in which `auto` prefers them.
TABLE: dict[str, frozenset[Feature]] = {
    "linear": _LINEAR,
    "native": _NATIVE,
    "sdpa": _SDPA,
    "streamed": _STREAMED,
    "reference": _REFERENCE,
}

#: Features that are promises rather than needs of a call: no call asks for them, the tests do.
PROMISES = frozenset({Feature.SECOND_DERIVATIVES, Feature.HIDDEN_NAN, Feature.LINEAR_MEMORY, Feature.LINEAR_TIME})
Runner = Callable[[Call], tuple[Tensor, dict[str, Tensor | TopKeys]]]

_NORMALIZERS: dict[type, Feature] = {
    Sigmoid: Feature.SIGMOID,
    Sparsemax: Feature.SPARSE,
    Entmax15: Feature.SPARSE,
    TopKSoftmax: Feature.SPARSE,
    Entmax: Feature.ENTMAX,
    Hard: Feature.HARD,
    Sum: Feature.SUM,
}


def needs(call: Call) -> frozenset[Feature]:
    """What this call asks of a backend."""
    score, normalize, place = call.score, call.normalize, call.place
    terms = score.terms()
    shared = call.mask is None or (shares_keys(call.mask) and not torch.compiler.is_compiling())
    bare = isinstance(call.mask, Causal) or call.mask is None
    intervals = call.lowered_mask is None or call.lowered_mask.bounds is not None
    largest = LARGEST if call.query.device.type == "cpu" else LARGEST_ELSEWHERE
    large = not torch.compiler.is_exporting() and _pairs(call) > largest  # an exported graph is one for all sizes
    asked = {
        _form(score): True,
        Feature.SOFT_CAP: score.form is not None and score.capped,
        Feature.BIAS: any(isinstance(term, Bias) for term in terms),
        Feature.POSITION: any(knows_term(term) and not isinstance(term, Bias) for term in terms),
        Feature.OTHER_TERM: len(terms) > MOST_TERMS or not all(knows_term(term) for term in terms),
        Feature.TERM_GRADIENT: torch.is_grad_enabled() and any(term.learns for term in terms),
        _normalizer(normalize): True,
        Feature.SHARED_MASK: call.mask is not None and shared,
        Feature.MASK: not shared and intervals,
        Feature.PATTERN: not intervals,
        Feature.GROUPED_HEADS: place.heads != call.value.shape[1],
        Feature.VALUE_WIDTH: call.value.shape[-1] != call.query.shape[-1],
        Feature.DROPOUT: call.dropout > 0.0,
        Feature.OBSERVE: bool(call.record),
        Feature.OTHER_OBSERVATION: (
            len(call.record) > MOST_OBSERVATIONS or not all(knows_observation(item) for item in call.record.values())
        ),
        Feature.LARGE: large and (bool(terms) or not bare),
        Feature.LARGE_PATTERN: large and not intervals and not isinstance(call.mask, Dense),
        Feature.FLOAT64: call.query.dtype == torch.float64,
        Feature.FLOAT16: call.query.dtype == torch.float16,
        Feature.ACCELERATOR: call.query.device.type != "cpu",
        Feature.EXPORT: torch.compiler.is_exporting(),
        Feature.TRANSFORM: transformed(),
    }
    return frozenset(feature for feature, needed in asked.items() if needed)


def _pairs(call: Call) -> int:
    """How large the mask and the terms are as tensors: of one batch row, as most are the same for all."""
    place, lowered, terms = call.place, call.lowered_mask, call.score.terms()
    # The length, since torch.compile cannot ask whether a tuple is empty.
    alike = lowered is not None and lowered.bounds is not None and lowered.bounds.shape[1] == 1 and len(terms) == 0
    return (1 if alike else place.heads) * place.queries * place.keys


def _form(score: Score) -> Feature:
    if isinstance(score, Kernel):
        return Feature.KERNEL
    return {"dot": Feature.DOT, "additive": Feature.ADDITIVE, None: Feature.PAIRS}[score.form]


def _normalizer(normalize: object) -> Feature:
    if isinstance(normalize, Softmax):
        return Feature.SOFTMAX if normalize.sink is None else Feature.SINK
    return _NORMALIZERS.get(type(normalize), Feature.OTHER_NORMALIZER)


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
    if backend == "native" and native.ABSENT:
        return [f"the kernels, {native.ABSENT}"]
    return sorted(feature.value for feature in needs(call) - TABLE[backend])


def runner(backend: str) -> Runner:
    """The function that runs a call; its module is imported at first use."""
    match backend:  # statements, which torch.compile can follow, as it cannot importlib
        case "native":
            from regard.attention.backends.native import run
        case "sdpa":
            from regard.attention.backends.sdpa import run
        case "linear":
            from regard.attention.backends.linear import run
        case "streamed":
            from regard.attention.backends.streamed import run
        case _:
            from regard.attention.backends.reference import run
    return run


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def table() -> str:
    """The table as Markdown, for the docs and `regard doctor`."""
    rows = [f"| | {' | '.join(f'`{name}`' for name in TABLE)} |", f"|---|{'---|' * len(TABLE)}"]
    for feature in Feature:
        rows.append(f"| {feature.value} | {' | '.join('yes' if feature in TABLE[name] else '-' for name in TABLE)} |")
    return "\n".join(rows)
