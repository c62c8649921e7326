"""The counter-based random numbers of `regard.ops.random` for all pairs of a call, or of a block of it."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attention.place import Place
from regard.ops.random import bits, keep

_NOISE = 0x5851F42D4C957F2D  # tells the stream of `uniform` from that of `keep`


def keep_all(seed: int, dropout: float, place: Place) -> Bool[Tensor, "batch heads queries keys"]:
    """`keep` for every weight of a place: of a whole call, or of a block of it."""
    return keep(seed, dropout, *_indices(place))


def uniform(seed: int, place: Place) -> Float[Tensor, "batch heads queries keys"]:
    """A number in (0, 1) for every pair of a place, in float64; another stream than that of `keep`."""
    return (bits(seed ^ _NOISE, *_indices(place)).double() + 0.5) * 2.0**-32


def _indices(place: Place) -> list[Int[Tensor, "..."]]:
    sizes = (place.batch, place.heads)
    parts = (slice(None), slice(None)) if place.part is None else place.part[:2]
    rows, heads = (
        torch.arange(*part.indices(size)[:2], device=place.device) for part, size in zip(parts, sizes, strict=True)
    )
    axes = (rows, heads, place.query_index, place.key_index)
    return [index.view([-1 if axis == at else 1 for axis in range(4)]) for at, index in enumerate(axes)]
