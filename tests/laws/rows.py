"""Rows of scores to normalise, and who may be seen in them."""

import torch
from tests.laws.mechanism import HEADS, WIDE
from torch import Tensor

import regard
from regard.attention.place import Place

SHAPE = (2, HEADS, 5, 7)
PLACE = Place(batch=2, heads=HEADS, queries=5, keys=7)


def scores_for(name: str) -> Tensor:
    scores = 2.0 * torch.randn(SHAPE, **WIDE)
    return scores.abs() if name == "sum" else scores


def some_allowed() -> Tensor:
    """Rows that see several keys, rows that see one, and rows that see none."""
    allowed = torch.rand(SHAPE) < 0.6
    allowed[0, 1, 2] = False
    allowed[1, :, 4] = False
    allowed[1, 2, 3] = torch.arange(7) == 5
    return allowed


def weights_of(normalize: regard.Normalizer, scores: Tensor, allowed: Tensor | None = None) -> Tensor:
    return normalize.weights(scores, allowed, PLACE, 3)


def row(*numbers: float) -> Tensor:
    return torch.tensor(numbers, **WIDE).view(1, 1, 1, -1)
