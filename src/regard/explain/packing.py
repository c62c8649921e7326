"""Numbers as text: levels of a square-root scale, in planes of bytes, deflated, in base64; `data.js` reads them.

The square root keeps small weights apart. Every step is exact but the rounding to a level, whose error is stated.
"""

import base64
import ctypes
import zlib
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

LEVEL = 6  # of zlib: 9 takes twice as long for a hundredth less


@dataclass(frozen=True)
class Scale:
    """Whole levels from 0 to 2^bits - 1 for numbers from 0 to `maximum`: `maximum * (level / (2^bits - 1))^2`."""

    maximum: float
    bits: int

    @classmethod
    def of(cls, numbers: Float[Tensor, "*shape"], bits: int) -> "Scale":
        """The scale up to the greatest of the numbers, rounded up to what is short to write.

        Raises:
            ValueError: numbers that are negative, infinite or NaN, which have no place on it.
        """
        greatest = float(numbers.max()) if numbers.numel() else 0.0
        if not (torch.isfinite(numbers).all() and (numbers >= 0).all()):
            raise ValueError(
                "a page shows weights and what is made of them, finite and not negative, but there is "
                f"{'one of ' + format(float(numbers.min()), '.4g') if numbers.min() < 0 else 'NaN or infinity'}"
            )
        return cls(float(f"{greatest * 1.00001:.6g}"), bits)

    @property
    def top(self) -> int:
        """The highest level."""
        return 2**self.bits - 1

    def levels(self, numbers: Float[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
        """The nearest level to each number's place."""
        if not self.maximum:
            return torch.zeros_like(numbers, dtype=torch.int64)
        return ((numbers.double() / self.maximum).sqrt() * self.top).round().clamp_max(self.top).long()

    def numbers(self, levels: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        """What the levels stand for."""
        return self.maximum * (levels.double() / self.top) ** 2

    def error(self, number: float = 1.0) -> float:
        """How far a number may be from what its level stands for."""
        half = 0.5 / self.top
        return self.maximum * (2 * half * (min(number / self.maximum, 1.0) ** 0.5) + half**2) if self.maximum else 0.0


def planes(numbers: Int[Tensor, "*shape"], count: int) -> UInt8[Tensor, " bytes"]:
    """The numbers' bytes, the lowest of all first, then the next of all, `count` of each: alike ones stand together."""
    flat = numbers.flatten()
    return torch.cat([(flat >> 8 * place & 255).to(torch.uint8) for place in range(count)])


def width(numbers: Int[Tensor, "*shape"]) -> int:
    """How many bytes the greatest of the numbers takes."""
    return max(1, (int(numbers.max()).bit_length() + 7) // 8) if numbers.numel() else 1


def text(*parts: UInt8[Tensor, "_"]) -> str:
    """The bytes one after the other, deflated, in base64."""
    data = torch.cat(parts)
    # The tensor's memory as it lies there; the usual way leads through NumPy, which this package can do without.
    raw = ctypes.string_at(data.data_ptr(), len(data)) if len(data) else b""
    return base64.b64encode(zlib.compress(raw, LEVEL)).decode("ascii")


@dataclass(frozen=True, eq=False)
class Singles:
    """The single weights of a head that are kept, query by query, in the order of their keys."""

    counts: Int[Tensor, " queries"]
    steps: Int[Tensor, " kept"]
    weights: Float[Tensor, " kept"]

    @classmethod
    def of(
        cls, keys: Int[Tensor, "queries k"], weights: Float[Tensor, "queries k"], least: float, sources: int
    ) -> "Singles":
        """Those of at least `least`, and never those that are 0.

        A key is written as its step from the key before it; the first of a query from the query's own place among
        the `sources` keys, as twice the step if that is not negative, else as twice the step back less 1.
        """
        keep = _kept(keys, weights, least)
        keys, order = keys.masked_fill(~keep, sources).sort(dim=-1, stable=True)
        keep, weights = keep.gather(-1, order), weights.gather(-1, order)
        own = torch.arange(len(keys)) * sources // max(len(keys), 1)
        first = keys[:, :1] - own[:, None]
        steps = torch.cat([torch.where(first >= 0, 2 * first, -2 * first - 1), keys.diff(dim=-1)], dim=-1)
        return cls(keep.sum(-1), steps[keep], weights[keep])

    @property
    def widths(self) -> tuple[int, int]:
        """How many bytes a count takes, and a step."""
        return width(self.counts), width(self.steps)

    def text(self, scale: Scale) -> str:
        """Counts, steps and levels."""
        counts, steps = self.widths
        return text(
            planes(self.counts, counts),
            planes(self.steps, steps),
            planes(scale.levels(self.weights), scale.bits // 8),
        )


def _kept(
    keys: Int[Tensor, "queries k"], weights: Float[Tensor, "queries k"], least: float
) -> Bool[Tensor, "queries k"]:
    return (keys >= 0) & (weights > 0) & (weights >= least)
