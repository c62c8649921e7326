"""Calls like one that was checked before go straight to the kernels.

Checking a call and choosing its backend costs as much as a small call's arithmetic, and comes out the same for the
same sizes, dtypes, score and mask. What it came to is remembered here, for plain calls on `native`, and on a GPU on
`sdpa`.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import DotScores
from regard.attention.masks import Mask
from regard.attention.scores import Dot, ScaledDot, Score
from regard.attention.watching import current
from regard.ops.attention import Constants, constants, contiguous_pairs
from regard.ops.attention import run as run_native
from regard.ops.following import followed, transformed
from regard.ops.native import ABSENT, TYPES

KEPT = 32  # calls that are remembered
Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Route:
    """A call's intervals, and what else of it the kernels take."""

    bounds: Tensor | None
    constants: Constants

    def run(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return run_native(query, key, value, self.bounds, self.constants)


@dataclass(frozen=True, eq=False)
class Fused:
    """A call of torch's own fused attention."""

    causal: bool
    scale: float

    def run(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        from regard.attention.backends.sdpa import fused  # which ran before: a backend is loaded by its first call

        return fused(query, key, value, causal=self.causal, scale=self.scale)


_routes: dict[Key, Route | Fused] = {}


def key_of(
    query: Tensor, key: Tensor, value: Tensor, score: Score | None, mask: Mask | None, offset: object, backend: str
) -> Key | None:
    """What decides how a call runs; None where more does, or where it runs on neither a CPU nor a GPU."""
    if followed(query, key, value) or transformed():
        return None
    cpu = query.is_cpu and key.is_cpu and value.is_cpu
    if (
        not (cpu or (query.is_cuda and key.is_cuda and value.is_cuda))
        or (ABSENT if cpu else backend != "auto")
        or type(offset) is not int
        or not (score is None or isinstance(score, Dot | ScaledDot))
        or current() is not None
        or torch.is_autocast_enabled("cpu" if cpu else "cuda")
    ):
        return None
    return query.shape, key.shape, value.shape, query.dtype, key.dtype, value.dtype, cpu, score, mask, offset


def find(key: Key | None) -> Route | Fused | None:
    return None if key is None else _routes.get(key)


def remember(key: Key, call: Call, backend: str) -> None:
    """A call that ran, if it is one for the kernels of plain softmax as it is."""
    route = {"native": _native, "sdpa": _fused}[backend](call) if backend in ("native", "sdpa") else None
    if route is None:
        return
    if len(_routes) >= KEPT:
        _routes.pop(next(iter(_routes)), None)  # another thread may have been faster
    _routes[key] = route


def _native(call: Call) -> Route | None:
    scores, mask = call.lowered, call.lowered_mask
    assert isinstance(scores, DotScores)
    if call.query.dtype not in TYPES or not (mask is None or mask.everything or mask.bounds is not None):
        return None
    bounds = contiguous_pairs(None if mask is None or mask.everything else mask.bounds)
    return Route(bounds, constants(call.query, call.key, call.value, bounds, scores.scale, 0.0, 0))


def _fused(call: Call) -> Fused | None:
    from regard.attention.backends.sdpa import is_causal

    scores, causal = call.lowered, is_causal(call)
    assert isinstance(scores, DotScores)
    if not (call.mask is None or causal):
        return None
    return Fused(causal, scores.scale)
