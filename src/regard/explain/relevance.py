"""Attention times gradient: which positions made the model say what it said, and which heads it needed.

Plain attention says where a model looked; the gradient says whether it mattered. The gradient of an output in every
weight is `g_i . v_j`, the gradient of the context of query i times the value of key j, so that neither the weights nor
their gradients are ever held: all of it is exact, in O(n) memory, for calls that `watch(..., keep=True)` kept.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention import Watched
from regard.attention.kept import Kept
from regard.explain.attribution import Attribution, one_hot
from regard.explain.maps import Gradient, KeptMap, layers_of, only


def relevance(
    seen: Watched,
    target: Float[Tensor, "*batch"],
    *,
    query: int = -1,
    layers: str | Sequence[str] | None = None,
) -> Attribution:
    """How relevant each position was to an output of an encoder, or of a decoder without a source.

    Each layer adds `R <- R + A R`, where A is the mean over heads of the weights times their gradients, where positive.

    Args:
        seen: what `regard.watch(model, keep=True)` kept of one call, with gradients enabled and `model.eval()`.
        target: what is explained, such as a logit of the predicted class: one number, or one a batch row.
        query: the position whose row is read: where the output was taken from, 0 for a class token, -1 for the next
            token of a decoder.
        layers: names of self-attention layers, or patterns of them; all when not given.

    Returns:
        One query's row; entries are relevance, at least 0, not shares: they do not sum to 1.

    Raises:
        ValueError: calls were not kept, or kept without gradient, or the target does not depend on them.

    Source: Chefer et al. 2021, "Generic Attention-model Explainability", eq. 5 and 6.
    """
    maps = _maps(seen, layers_of(seen, layers), target)
    _square(maps)
    first = next(iter(maps.values()))
    row = _rows(one_hot((query,), first.batch, first.queries, first.like), list(maps.values()))
    return _attribution("relevance", query, row)


def pooled_relevance(
    seen: Watched,
    target: Float[Tensor, "*batch"],
    *,
    pooling: str,
    layers: str | Sequence[str] | None = None,
) -> Attribution:
    """How relevant each position was to an output that attention pooled an encoder's positions for.

    The row that starts is that of the pooling's query, weights times gradients where positive; it goes through the
    encoder's layers as in :func:`relevance`. An encoder without attention leaves it as it is.

    Args:
        seen: what `regard.watch(model, keep=True)` kept of one call, with gradients enabled and `model.eval()`.
        target: what is explained, such as a logit of the predicted class: one number, or one a batch row.
        pooling: the name of the layer that pools, which has one query a batch row (:class:`regard.nn.AdditivePooling`).
        layers: names of the encoder's self-attention layers, or patterns of them; all others when not given.

    Returns:
        One row a batch row; entries are relevance, at least 0, not shares.

    Raises:
        ValueError: as `relevance`; or a pooling with several queries.
    """
    others = [name for name in seen if name != pooling]
    if layers is not None:
        others = [name for name in layers_of(seen, layers) if name != pooling]
    maps = _maps(seen, [*others, *layers_of(seen, pooling)], target)
    last = maps.pop(pooling)
    if last.queries != 1:
        raise ValueError(
            f"{pooling} has {last.queries} queries a batch row, and a pooling has one; run rows, not a pack"
        )
    if maps:
        _square(maps)
    row = last.pull(one_hot((0,), last.batch, 1, last.like))
    return _attribution("pooled relevance", 0, _rows(row, list(maps.values())))


def cross_relevance(
    seen: Watched,
    target: Float[Tensor, "*batch"],
    *,
    query: int = -1,
    encoder: str | Sequence[str] = ("encoder.*", "*.encoder.*"),
    decoder: str | Sequence[str] = ("*decoder.*.attention", "*decoder.*.self_attn", "*decoder.*.SelfAttention"),
    cross: str | Sequence[str] = ("*.cross", "*.encoder_attn", "*.EncDecAttention"),
) -> tuple[Attribution, Attribution]:
    """How relevant each position of the source, and each of the output so far, was to an output of an encoder-decoder.

    Args:
        seen: what `regard.watch(model, keep=True)` kept of one call, with gradients enabled and `model.eval()`.
        target: what is explained: one number, or one a batch row.
        query: the decoder's position that the output was taken from.
        encoder: names, or patterns of names, of the encoder's self-attention.
        decoder: of the decoder's self-attention.
        cross: of the decoder's attention to the encoder.

    Returns:
        The relevance of the source, and of the output's own positions.

    Raises:
        ValueError: as `relevance`.

    Source: Chefer et al. 2021, "Generic Attention-model Explainability", eq. 5 to 10.
    """
    names = {part: layers_of(seen, patterns) for part, patterns in (("encoder", encoder), ("decoder", decoder))}
    crossing = layers_of(seen, cross)
    steps = [name for name in seen if name in names["decoder"] or name in crossing]
    maps = _maps(seen, [*names["encoder"], *steps], target)
    encoding = {name: maps[name] for name in names["encoder"]}
    decoding = {name: maps[name] for name in names["decoder"]}
    _square(encoding)
    _square(decoding)
    last = next(iter(decoding.values()))
    row = one_hot((query,), last.batch, last.queries, last.like)
    source = torch.zeros(row.shape[0], 1, maps[crossing[0]].keys, dtype=row.dtype, device=row.device)
    for name in reversed(steps):
        if name not in crossing:
            row = row + maps[name].pull(row)
            continue
        before = [decoding[step] for step in steps[: steps.index(name)] if step in decoding]
        # Transposed, as the paper has it: what the query's row brings to the positions that it came from.
        carried = _normalised(_columns(row, before) - row, before) + row
        source = source + maps[name].pull(carried)
    layers = list(encoding.values())
    shares = _normalised(source, layers)
    source = source + _rows(shares, layers) - shares
    return _attribution("relevance of the source", query, source), _attribution("relevance of the output", query, row)


def head_importance(seen: Watched, loss: Float[Tensor, "*batch"]) -> dict[str, Float[Tensor, " heads"]]:
    """How much the loss would change, to first order, were a head switched off: by layer, the mean over batch rows.

    Args:
        seen: what `regard.watch(model, keep=True)` kept, with gradients enabled.
        loss: one number, the *sum* over the batch rows, or one a batch row.

    Raises:
        ValueError: as `relevance`.

    Source: Michel et al. 2019, "Are Sixteen Heads Really Better than One?", eq. 2, before it is divided by a layer's
    length.
    """
    calls = {name: only(seen, name) for name in layers_of(seen, None)}
    gradients = _gradients(calls, loss)
    return {
        name: (kept.context.detach() * gradients[name]).sum((2, 3)).abs().mean(0).float()
        for name, kept in calls.items()
    }


def _maps(seen: Watched, names: Sequence[str], target: Tensor) -> dict[str, KeptMap]:
    calls = {name: only(seen, name) for name in names}
    for name, kept in calls.items():
        if kept.call.dropout > 0.0:
            raise ValueError(f"{name} ran with dropout, which is no part of what is explained; call model.eval() first")
    gradients = _gradients(calls, target)
    maps = {}
    for name, kept in calls.items():
        groups = kept.call.place.heads // kept.call.value.shape[1]
        value = kept.call.value.detach().repeat_interleave(groups, 1)
        maps[name] = KeptMap(kept, Gradient(_wide(gradients[name]), _wide(value)))
    return maps


def _gradients(calls: dict[str, Kept], target: Tensor) -> dict[str, Tensor]:
    """Of the target in the context of each call; batch rows do not meet, so that theirs are summed."""
    missing = [name for name, kept in calls.items() if not kept.context.requires_grad]
    if missing or not target.requires_grad:
        raise ValueError(
            f"{missing[0] if missing else 'the target'} has no gradient: run the model with gradients enabled, "
            "and its parameters or its inputs requiring them"
        )
    contexts = [kept.context for kept in calls.values()]
    found = torch.autograd.grad(target.sum(), contexts, retain_graph=True, allow_unused=True)
    if all(gradient is None for gradient in found):
        raise ValueError("the target does not depend on what was watched; take it from the output of the same call")
    return {
        name: torch.zeros_like(kept.context) if gradient is None else gradient
        for (name, kept), gradient in zip(calls.items(), found, strict=True)
    }


def _wide(tensor: Tensor) -> Tensor:
    return tensor if tensor.dtype == torch.float64 else tensor.float()


def _rows(rows: Tensor, layers: Sequence[KeptMap]) -> Tensor:
    """`rows @ R`, where R is the product of all `I + A`, the last layer's first."""
    for layer in reversed(layers):
        rows = rows + layer.pull(rows)
    return rows


def _columns(columns: Tensor, layers: Sequence[KeptMap]) -> Tensor:
    """`R @ columns`."""
    for layer in layers:
        columns = columns + layer.push(columns)
    return columns


def _normalised(columns: Tensor, layers: Sequence[KeptMap]) -> Tensor:
    """Divided by the sums of the rows of `R - I` (eq. 8 and 9); nothing where nothing was added to a row."""
    ones = torch.ones_like(columns)
    sums = _columns(ones, layers) - ones
    return torch.where(sums > 0, columns / sums, 0.0)


def _square(maps: dict[str, KeptMap]) -> None:
    size = next(iter(maps.values())).queries
    for name, matrix in maps.items():
        if (matrix.queries, matrix.keys) != (size, size):
            raise ValueError(
                f"{name} has {matrix.queries} queries and {matrix.keys} keys, but the other layers {size} of both: "
                "choose the layers of one self-attention stack; for an encoder-decoder call cross_relevance"
            )


def _attribution(method: str, query: int, row: Tensor) -> Attribution:
    return Attribution(method, (query,), row, torch.zeros(row.shape[:2], device=row.device))
