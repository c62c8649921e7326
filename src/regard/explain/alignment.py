"""The alignment of a source and an output: who attended to whom, in every layer and head."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from regard.explain.pieces import Piece, read

# Weights rounded to bfloat16 (8 bits) are each off by at most 2^-9 of themselves, and so is their sum.
TOLERANCE = 2.0**-8


class Attended(NamedTuple):
    """A source token that an output token attended to, and with what weight."""

    position: int
    piece: str
    weight: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Alignment:
    """The weights with which each output token attended to each source token, in every layer and head.

    Args:
        source: the pieces of the source sentence, END included.
        output: the pieces of the output sentence, END included where it was reached.
        weights: the weights of the cross-attention; every row of source tokens sums to 1. Kept in float32
            on the CPU, without gradient.
        layer_names: one a layer; "layer 0", "layer 1", ... when not given.
        title: a name for the sentence.
        score: what the output was ranked by.
        marker: what stands before the first piece of a word; with "" every piece is a word of its own.
        end: the name of END among the pieces.

    Raises:
        TypeError: weights that are no tensor.
        ValueError: sizes that do not fit together, or weights that are not weights.
    """

    source: tuple[str, ...]
    output: tuple[str, ...]
    weights: Float[Tensor, "layers heads output source"]
    layer_names: tuple[str, ...] = ()
    title: str = ""
    score: float | None = None
    marker: str = "▁"
    end: str = "</s>"

    def __post_init__(self) -> None:
        if not isinstance(self.weights, Tensor):
            raise TypeError(
                f"weights must be a torch.Tensor, not {type(self.weights).__name__}: pass torch.as_tensor(weights)"
            )
        shape = tuple(self.weights.shape)
        if len(shape) != 4 or 0 in shape:
            raise ValueError(
                f"weights must have the shape (layers, heads, output, source), none of them 0, but have "
                f"{shape}: for one map of (output, source) pass weights[None, None]"
            )
        layers, _, output, source = shape
        for name, pieces, size in (("source", self.source, source), ("output", self.output, output)):
            if len(pieces) != size:
                raise ValueError(
                    f"{name} has {len(pieces)} pieces, but weights of shape {shape} are for {size}: give one "
                    f"piece for each {name} token, END included"
                )
        names = self.layer_names or tuple(f"layer {index}" for index in range(layers))
        if len(names) != layers:
            raise ValueError(f"layer_names has {len(names)} names, but weights of shape {shape} have {layers} layers")
        weights = self.weights.detach().to("cpu", torch.float32)
        _check(weights)
        object.__setattr__(self, "layer_names", names)
        object.__setattr__(self, "weights", weights)

    @property
    def layers(self) -> int:
        """How many layers there are."""
        return self.weights.shape[0]

    @property
    def heads(self) -> int:
        """How many heads a layer has."""
        return self.weights.shape[1]

    @property
    def source_pieces(self) -> tuple[Piece, ...]:
        """The pieces of the source, readable."""
        return read(self.source, marker=self.marker, end=self.end)

    @property
    def output_pieces(self) -> tuple[Piece, ...]:
        """The pieces of the output, readable."""
        return read(self.output, marker=self.marker, end=self.end)

    def map(self, *, layer: int | None = None, head: int | None = None) -> Float[Tensor, "output source"]:
        """One map: of a head, of a layer (the mean over its heads), or of everything (the mean over all)."""
        if layer is None:
            if head is not None:
                raise ValueError(f"head {head} of which layer? Say so: layer=0, head={head}")
            return self.weights.mean(dim=(0, 1))
        _check_index("layer", layer, self.layers)
        if head is None:
            return self.weights[layer].mean(dim=0)
        _check_index("head", head, self.heads)
        return self.weights[layer, head]

    def mean(self) -> Float[Tensor, "output source"]:
        """The mean map over all layers and heads."""
        return self.map()

    def entropy(self) -> Float[Tensor, "layers heads output"]:
        """The entropy in nats of each output token's weights, in every layer and head."""
        return entropy(self.weights)

    def mean_entropy(self) -> Float[Tensor, " output"]:
        """The entropy in nats of each output token's mean weights (not the mean of the entropies)."""
        return entropy(self.mean())

    def top(self, k: int, *, layer: int | None = None, head: int | None = None) -> tuple[tuple[Attended, ...], ...]:
        """The `k` strongest source tokens of each output token of a map, strongest first, ties by position.

        Fewer where the source is shorter. `layer` and `head` choose the map as for :meth:`map`.
        """
        if k < 1:
            raise ValueError(f"top needs k of at least 1, not {k}")
        pieces = self.source_pieces
        weights, positions = self.map(layer=layer, head=head).sort(dim=-1, descending=True, stable=True)
        return tuple(
            tuple(
                Attended(position, pieces[position].label, weight)
                for position, weight in zip(row_positions[:k], row_weights[:k], strict=True)
            )
            for row_positions, row_weights in zip(positions.tolist(), weights.tolist(), strict=True)
        )


def entropy(weights: Float[Tensor, "*maps source"]) -> Float[Tensor, "*maps"]:
    """The entropy in nats, `-sum_j p_j ln p_j`: 0 with all weight on one token, ln(source) at most."""
    # A weight rounded to above 1 would give less than nothing.
    return torch.special.entr(weights).sum(dim=-1).clamp(min=0)


def _check(weights: Float[Tensor, "layers heads output source"]) -> None:
    if not torch.isfinite(weights).all():
        raise ValueError("weights hold NaN or infinity: pass what follows the softmax, not the scores")
    if weights.min() < 0:
        raise ValueError(
            f"weights must not be negative, but one is {weights.min():.4g}: if these are scores, pass "
            f"scores.softmax(-1)"
        )
    sums = weights.sum(dim=-1)
    off = (sums - 1).abs()
    if off.max() > TOLERANCE:
        layer, head, token = (int(index) for index in torch.unravel_index(off.argmax(), off.shape))
        raise ValueError(
            f"the weights of an output token must sum to 1, but those of output token {token} in layer "
            f"{layer}, head {head} sum to {sums[layer, head, token]:.4g}: if tokens were cut off, pass "
            f"weights / weights.sum(-1, keepdim=True)"
        )


def _check_index(name: str, index: int, size: int) -> None:
    if not 0 <= index < size:
        raise ValueError(f"there is no {name} {index}: give one of 0 to {size - 1}")
