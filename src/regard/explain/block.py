"""A row of the page's table of heads, and how it is packed."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.explain.look import POOLED, Layer, Strongest
from regard.explain.packing import Scale, Singles, planes, text
from regard.explain.pooling import averaged, cells, coarser

RANKED = 30  # keys that are listed by the weight they received
COARSE, FINE = 8, 16  # bits of a number


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How finely heads are kept.

    Args:
        bits: of a single weight, an entropy and a weight received.
        cells: rows and columns of a map at most.
        bins: numbers of a line of entropies or weights received at most; fewer are means over neighbours.
        least: the least single weight that is kept; 0 for all that were recorded.
    """

    bits: int
    cells: int
    bins: int
    least: float = 0.0


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """The maps and lines of a layer's heads and of their mean, the last, or of the mean of several layers alone."""

    names: tuple[str, ...]  # of the layers
    queries: str
    keys: str
    maps: Float[Tensor, "maps rows columns"]
    entropy: Float[Tensor, "maps queries"]
    received: Float[Tensor, "maps keys"]
    topk: Strongest | None = None  # of the heads; none where the block is a mean of layers

    @classmethod
    def of(cls, layer: Layer) -> "Block":
        """The block of one layer."""
        queries, keys = layer.entropy.shape[-1], layer.received.shape[-1]
        rows = cells(layer.pooled.shape[1], queries, POOLED)
        columns = cells(layer.pooled.shape[2], keys, POOLED)
        return cls(
            names=(layer.name,),
            queries=layer.queries,
            keys=layer.keys,
            maps=_and_mean(coarser(layer.pooled, queries, keys, rows, columns)),
            entropy=_and_mean(layer.entropy),
            received=_and_mean(layer.received),
            topk=layer.topk,
        )

    @classmethod
    def mean(cls, blocks: Sequence["Block"]) -> "Block":
        """The mean of layers with the same sides, each the mean of its heads."""
        rows, columns = (gcd(*(block.maps.shape[axis] for block in blocks)) for axis in (1, 2))
        return cls(
            names=tuple(name for block in blocks for name in block.names),
            queries=blocks[0].queries,
            keys=blocks[0].keys,
            maps=torch.stack([block.coarse(rows, columns)[-1:] for block in blocks]).mean(0),
            entropy=torch.stack([block.entropy[-1:] for block in blocks]).mean(0),
            received=torch.stack([block.received[-1:] for block in blocks]).mean(0),
        )

    @property
    def heads(self) -> int:
        """How many heads there are; none in a mean of layers."""
        return len(self.topk.keys) if self.topk else 0

    def coarse(self, rows: int, columns: int) -> Float[Tensor, "maps new_rows new_columns"]:
        """The maps with fewer cells."""
        return coarser(self.maps, self.entropy.shape[-1], self.received.shape[-1], rows, columns)

    def size(self, plan: Plan) -> tuple[int, int]:
        """The rows and columns of a map."""
        _, rows, columns = self.maps.shape
        queries, keys = self.entropy.shape[-1], self.received.shape[-1]
        return cells(rows, queries, plan.cells), cells(columns, keys, plan.cells)

    def whole(self, plan: Plan) -> bool:
        """Whether the maps are not pooled: then they are all single weights."""
        return self.size(plan) == (self.entropy.shape[-1], self.received.shape[-1])

    def numbers(self, plan: Plan) -> int:
        """How many single weights there are to keep."""
        if self.whole(plan):
            return self.maps.numel()
        return self.topk.keys.numel() if self.topk else 0

    # Each of the following gives what the page's script has to know, and the texts that it unpacks.

    def pack_lines(self, plan: Plan) -> tuple[dict[str, Any], list[str]]:
        """Entropies, weights received, and the keys that received most."""
        bins = [min(line.shape[1], plan.bins) for line in (self.entropy, self.received)]
        parts, scales = [], []
        for line, size in zip((self.entropy, self.received), bins, strict=True):
            levels, maxima = _levels(averaged(line, size), plan.bits)
            parts.append(planes(levels, plan.bits // 8))
            scales.append(maxima)
        ranked = min(RANKED, self.received.shape[1])
        weights, keys = self.received.sort(dim=-1, descending=True, stable=True)
        levels, maxima = _levels(weights[:, :ranked], FINE)
        about = {
            "lineBits": plan.bits,
            "entropy": {"bins": bins[0], "maxima": scales[0]},
            "received": {"bins": bins[1], "maxima": scales[1]},
            "ranked": {"size": ranked, "maxima": maxima},
            "totals": _short(self.received.sum(-1)),
            "spread": _short(self.entropy.mean(-1)),
        }
        return about, [text(*parts, planes(keys[:, :ranked], 4), planes(levels, FINE // 8))]

    def pack_maps(self, plan: Plan) -> tuple[dict[str, Any], list[str]]:
        """The maps; with all bits where they are not pooled."""
        rows, columns = self.size(plan)
        bits = plan.bits if self.whole(plan) else COARSE
        levels, maxima = _levels(self.coarse(rows, columns), bits)
        about = {"rows": rows, "columns": columns, "whole": self.whole(plan), "mapBits": bits, "maxima": maxima}
        return about, [text(planes(levels, bits // 8))]

    def pack_singles(self, plan: Plan) -> tuple[dict[str, Any], list[str]]:
        """The single weights of each head; none where the maps have them all."""
        if self.whole(plan) or not self.topk:
            return {"k": 0, "singles": []}, []
        about: list[list[float]] = []
        texts = []
        for keys, weights in zip(self.topk.keys, self.topk.weights, strict=True):
            singles = Singles.of(keys, weights, plan.least, self.received.shape[-1])
            scale = Scale.of(singles.weights, plan.bits)
            about.append([len(singles.weights), *singles.widths, scale.maximum])
            texts.append(singles.text(scale))
        return {"k": self.topk.keys.shape[-1], "singleBits": plan.bits, "singles": about}, texts


def _and_mean(heads: Float[Tensor, "heads *rest"]) -> Float[Tensor, "maps *rest"]:
    return heads if len(heads) == 1 else torch.cat([heads, heads.mean(0, keepdim=True)])


def _levels(numbers: Float[Tensor, "maps *rest"], bits: int) -> tuple[Tensor, list[float]]:
    """Levels, each map or line on a scale of its own, and the scales' ends."""
    scales = [Scale.of(each, bits) for each in numbers]
    levels = torch.stack([scale.levels(each) for scale, each in zip(scales, numbers, strict=True)])
    return levels, [scale.maximum for scale in scales]


def _short(numbers: Float[Tensor, " maps"]) -> list[float]:
    return [float(f"{number:.5g}") for number in numbers.tolist()]
