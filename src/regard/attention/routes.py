"""Calls like one that was checked before go straight to the kernels.

Checking a call and choosing its backend costs as much as a small call's arithmetic, and comes out the same for the
same sizes, dtypes, score and mask. What it came to is remembered here, for plain calls on `native`.
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
from regard.ops.following import followed, transformed
from regard.ops.native import ABSENT, TYPES

KEPT = 32  # calls that are remembered
Key = tuple[object, ...]


@dataclass(frozen=True, eq=False)
class Route:
    """A call's intervals, and what else of it the kernels take."""

    bounds: Tensor | None
    constants: Constants


_routes: dict[Key, Route] = {}


def key_of(
    query: Tensor, key: Tensor, value: Tensor, score: Score | None, mask: Mask | None, offset: object
) -> Key | None:
    """What decides how a call runs; None where more does, or where it does not run on a CPU."""
    if (
        ABSENT
        or followed(query, key, value)
        or transformed()
        or type(offset) is not int
        or not (score is None or isinstance(score, Dot | ScaledDot))
        or not (query.is_cpu and key.is_cpu and value.is_cpu)
        or current() is not None
        or torch.is_autocast_enabled("cpu")
    ):
        return None
    return query.shape, key.shape, value.shape, query.dtype, key.dtype, value.dtype, score, mask, offset


def find(key: Key | None) -> Route | None:
    return None if key is None else _routes.get(key)


def remember(key: Key, call: Call) -> None:
    """A call that ran on `native`, if it is one for the kernels of plain softmax as it is."""
    scores, mask = call.lowered, call.lowered_mask
    assert isinstance(scores, DotScores)
    if call.query.dtype not in TYPES or not (mask is None or mask.everything or mask.bounds is not None):
        return
    bounds = contiguous_pairs(None if mask is None or mask.everything else mask.bounds)
    if len(_routes) >= KEPT:
        _routes.pop(next(iter(_routes)), None)  # another thread may have been faster
    _routes[key] = Route(bounds, constants(call.query, call.key, call.value, bounds, scores.scale, 0.0, 0))
