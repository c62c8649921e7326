"""Scores by other measures of likeness than the plain dot product: cosine, distance, feature maps."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.lowering import DotScores
from regard.attention.place import Place
from regard.attention.scores import Prepared, Score
from regard.attention.terms import Bias


class Cosine(nn.Module, Score):
    """`s = scale[h] * cos(query, key)`, with a learned scale for each head (Henry et al. 2020, QK-norm).

    The scale is learned as its logarithm, and so stays positive (Liu et al. 2022, Swin v2).

    Args:
        heads: number of query heads.
        scale: the scale at the beginning.
    """

    form = "dot"

    def __init__(
        self,
        heads: int = 1,
        *,
        scale: float = 10.0,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not scale > 0:
            raise ValueError(f"Cosine needs a scale > 0, got {scale}")
        self.heads = heads
        self.log_scale = nn.Parameter(torch.full((heads,), math.log(scale), device=device, dtype=dtype))

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        super().check(query, key, prepared, place)
        if self.heads != query[1]:
            raise ValueError(
                f"Cosine was built for {self.heads} heads, but the call has {query[1]}: regard.Cosine(heads={query[1]})"
            )

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        scale = self.log_scale.exp().to(query.dtype).view(1, -1, 1, 1)
        return functional.normalize(query, dim=-1) * scale, functional.normalize(key, dim=-1)

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        return query @ key.mT

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> DotScores:
        return DotScores(*self.project(query, key, prepared))


@dataclass(frozen=True)
class Gaussian(Score):
    """`s = -|query - key|^2 / (2 sigma^2)`; with `Softmax` this is the Nadaraya-Watson estimator (1964).

    The squares are taken of differences to the mean key and in float32: the expansion `q.q - 2 q.k + k.k` of inputs
    far from zero would lose everything in 16 bits, and much in 32.
    """

    form = "dot"
    bare = False  # the squares of queries and keys stand beside the product
    sigma: float = 1.0

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"Gaussian needs sigma > 0, got {self.sigma}")

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        if query[-1] != key[-1]:
            raise ValueError(
                f"{self!r} measures distances, so queries and keys need one width: query has head_dim {query[-1]}, "
                f"key has {key[-1]}"
            )

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        if key.shape[-2] == 0:
            return query, key
        query, key = (tensor if tensor.dtype == torch.float64 else tensor.float() for tensor in (query, key))
        # Distances do not depend on where the origin is: no gradient flows through it, and a NaN stays where it is.
        # Keys that nobody sees are zero here, and must not draw it to themselves.
        finite = key.detach().nan_to_num(0.0, 0.0, 0.0)
        count = (finite != 0).any(-1, keepdim=True).sum(-2, keepdim=True)
        center = finite.sum(-2, keepdim=True) / count.clamp_min(1)
        groups = query.shape[1] // key.shape[1]
        return (query - center.repeat_interleave(groups, 1)) / self.sigma, (key - center) / self.sigma

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        squares = query.square().sum(-1, keepdim=True) + key.square().sum(-1).unsqueeze(-2)
        return query @ key.mT - 0.5 * squares

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> DotScores:
        query, key = self.project(query, key, prepared)
        of_key = key.square().sum(-1).unsqueeze(-2).repeat_interleave(place.heads // key.shape[1], 1)
        return DotScores(query, key, row=-0.5 * query.square().sum(-1, keepdim=True), terms=(Bias(-0.5 * of_key),))


def elu_plus_one(features: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`elu(x) + 1`, the feature map of Katharopoulos et al. 2020."""
    return functional.elu(features) + 1.0


class RandomFeatures(nn.Module):
    """Positive random features: `phi(q).phi(k)` is in the mean `exp(q.k / sqrt(width))` (Choromanski et al. 2021).

    The directions are drawn once, from `seed`, orthogonal in groups of `width`, and kept as a buffer.

    Args:
        width: width of queries and keys.
        count: number of features; the error falls with its root.
        seed: of the directions.
    """

    directions: Tensor

    def __init__(self, width: int, count: int, *, seed: int = 0) -> None:
        super().__init__()
        if width < 1 or count < 1:
            raise ValueError(f"RandomFeatures needs a width and a count >= 1, got {width} and {count}")
        generator = torch.Generator().manual_seed(seed)
        blocks = []
        for _ in range(-(-count // width)):
            square = torch.randn(width, width, generator=generator, dtype=torch.float64)
            lengths = torch.randn(width, width, generator=generator, dtype=torch.float64).norm(dim=-1, keepdim=True)
            q, r = torch.linalg.qr(square)
            # With the signs of r they point everywhere alike, and the mean is right (Mezzadri 2007).
            blocks.append((q * r.diagonal().sign()).mT * lengths)
        self.width, self.count, self.seed = width, count, seed
        self.register_buffer("directions", torch.cat(blocks)[:count].float())

    def extra_repr(self) -> str:
        return f"width={self.width}, count={self.count}, seed={self.seed}"

    def forward(self, features: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows count"]:
        if features.shape[-1] != self.width:
            raise ValueError(
                f"RandomFeatures was built for width {self.width}, but the call has {features.shape[-1]}; build it as "
                f"regard.RandomFeatures({features.shape[-1]}, {self.count})"
            )
        scaled = features * self.width**-0.25
        projected = scaled @ self.directions.to(features.dtype).mT
        return (projected - 0.5 * scaled.square().sum(-1, keepdim=True)).exp() / math.sqrt(self.count)


FEATURE_MAPS: dict[str, Callable[[Tensor], Tensor]] = {"elu+1": elu_plus_one, "relu": functional.relu}


class Kernel(nn.Module, Score):
    """`s = phi(query) . phi(key)`; with `Sum`, linear attention in O(n) (Katharopoulos et al. 2020).

    Args:
        feature_map: "elu+1", "relu", or a function or module from `(..., width)` to `(..., features)`, which must
            not be negative where `Sum` follows.
    """

    form = "dot"

    def __init__(self, feature_map: str | Callable[[Tensor], Tensor] = "elu+1") -> None:
        super().__init__()
        if isinstance(feature_map, str) and feature_map not in FEATURE_MAPS:
            raise ValueError(f"unknown feature map {feature_map!r}; expected one of {', '.join(FEATURE_MAPS)}")
        self.feature_map = FEATURE_MAPS[feature_map] if isinstance(feature_map, str) else feature_map
        self.name = feature_map if isinstance(feature_map, str) else repr(feature_map)

    def __repr__(self) -> str:
        return f"Kernel({self.name})"

    def prepare(self, key: Tensor) -> Prepared:
        return Prepared(self, self.feature_map(key))

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        return self.feature_map(query), key if prepared else self.feature_map(key)

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        if not prepared:
            super().check(query, key, prepared, place)

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        return query @ key.mT

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> DotScores:
        return DotScores(*self.project(query, key, prepared))
