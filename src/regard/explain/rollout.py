"""Attention alone as an explanation: of one layer as it is, and of all layers rolled out."""

from collections.abc import Sequence

import torch

from regard.attention import Watched
from regard.explain.attribution import Attribution, one_hot
from regard.explain.maps import layers_of, map_of


def raw(seen: Watched, layer: str, *, queries: Sequence[int] | None = None) -> Attribution:
    """The weights of one layer, the mean of its heads: the raw alignment (Bahdanau et al. 2015).

    Args:
        seen: what `regard.watch` recorded with `keep=True` or `Weights` (exact), or with `TopK` (bounds).
        layer: its name.
        queries: whose rows are wanted; all when not given, O(n^2) numbers.
    """
    matrix = map_of(seen, layer)
    wanted = tuple(range(matrix.queries)) if queries is None else tuple(queries)
    weights = matrix.pull(one_hot(wanted, matrix.batch, matrix.queries, matrix.like))
    return Attribution(f"raw attention of {layer}", wanted, weights, (1.0 - weights.sum(-1)).clamp_min(0.0))


def rollout(
    seen: Watched, *, queries: Sequence[int] | None = None, layers: str | Sequence[str] | None = None
) -> Attribution:
    """Attention rollout: the product over all layers of `(A + I) / 2`, A the mean of a layer's heads.

    Half of what a position holds is taken to come from where it attends, half from itself, as the residual connection
    has it. Rows are followed from the last layer down, so that a few queries cost O(n) memory at any length.

    Args:
        seen: what `regard.watch` recorded with `keep=True` or `Weights` (exact), or with `TopK` (bounds: what the
            weights that were not kept would carry is missing).
        queries: whose rows are wanted; all when not given, O(n^2) numbers.
        layers: names of self-attention layers, or patterns of them, such as `"encoder.*"`; all when not given.

    Raises:
        ValueError: layers of different sizes, such as an encoder's among a decoder's.

    Source: Abnar & Zuidema 2020, "Quantifying Attention Flow in Transformers".
    """
    maps = {name: map_of(seen, name) for name in layers_of(seen, layers)}
    sizes = {name: (matrix.queries, matrix.keys) for name, matrix in maps.items()}
    size = next(iter(sizes.values()))[0]
    for name, (of_queries, of_keys) in sizes.items():
        if (of_queries, of_keys) != (size, size):
            raise ValueError(
                f"rollout multiplies self-attention of one sequence, here of {size} positions, but {name} has "
                f"{of_queries} queries and {of_keys} keys; choose layers, such as layers='encoder.*'"
            )
    first = next(iter(maps.values()))
    wanted = tuple(range(size)) if queries is None else tuple(queries)
    rows = one_hot(wanted, first.batch, size, first.like)
    with torch.no_grad():
        for matrix in reversed(maps.values()):
            rows = (rows + matrix.pull(rows)) / 2
    return Attribution("attention rollout", wanted, rows, (1.0 - rows.sum(-1)).clamp_min(0.0))
