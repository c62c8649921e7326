"""The project's own kernels for CPUs (csrc), in both passes.

Softmax of bare scores has kernels that never keep a row of weights; all else runs on those that keep the rows of a few
queries at a time.
"""

from typing import Any

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import AdditiveScores, DotScores
from regard.attention.normalizers import Softmax
from regard.attention.observations import LogSumExp, TopKeys
from regard.attention.scores import Dot, ScaledDot
from regard.attention.spec import describe, results
from regard.attention.steps import clean
from regard.ops.additive import additive_attention
from regard.ops.attention import attention_and_logsumexp, backward_pass, constants, contiguous_pairs
from regard.ops.native import TYPES
from regard.ops.rows import row_attention


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context, and what was asked to be recorded."""
    context, seen = _softmax(call) if _is_bare(call) else _rows(call)
    return context.to(call.query.dtype), seen


def gradients(
    call: Call, context: Tensor, logsumexp: Tensor, of_context: Tensor, of_logsumexp: Tensor
) -> tuple[Tensor, ...] | None:
    """What the keys of a call give to the gradients of its query, key and value, where they are some of more keys.

    The kernels need the weights, which are `exp(score - logsumexp)`, and no forward pass of these keys alone.

    Args:
        call: of the block.
        context, logsumexp: of all the keys that the queries may see; float32.
        of_context, of_logsumexp: their gradients.

    Returns:
        The gradients, or None where the kernels keep rows of weights or the score projects.
    """
    if not (_is_bare(call) and isinstance(call.score, Dot | ScaledDot) and call.query.dtype in TYPES):
        return None
    query, key, value, scores = _lowered(call)
    assert isinstance(scores, DotScores)
    bounds = contiguous_pairs(_bounds(call))
    given = constants(query, key, value, bounds, scores.scale, call.dropout, call.seed)
    return backward_pass(of_context, of_logsumexp, query, key, value, context, logsumexp.contiguous(), given)


def _is_bare(call: Call) -> bool:
    """Whether a call is a softmax of bare scores of which nothing is recorded but their log-sum-exp."""
    normalize, mask = call.normalize, call.lowered_mask
    return (
        isinstance(normalize, Softmax)
        and len(call.score.terms()) == 0
        and not call.score.capped
        and (mask is None or mask.bounds is not None or mask.everything)
        and all(type(item) is LogSumExp and normalize.temperature == 1.0 for item in call.record.values())
    )


def _softmax(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    normalize, (query, key, value, scores) = call.normalize, _lowered(call)
    assert isinstance(normalize, Softmax)
    factor, bounds, dropout, seed = 1.0 / normalize.temperature, _bounds(call), call.dropout, call.seed
    if isinstance(scores, AdditiveScores):
        weight = scores.weight.float()
        context, logsumexp = additive_attention(query, key, value, weight, bounds, factor, dropout, seed)
    else:
        # One number a key, as a Gaussian has, is one more feature of it, of which queries have 1.
        for term in scores.terms:
            ones = query.new_full((*query.shape[:-1], 1), 1.0 / scores.scale)
            column = term.matrix(call.place)[:, :: query.shape[1] // key.shape[1]].mT
            query, key = torch.cat((query, ones), -1), torch.cat((key, column), -1)
        context, logsumexp = attention_and_logsumexp(query, key, value, bounds, scores.scale * factor, dropout, seed)
        # What is the same for all keys of a query changes no weight, but it is in the scores.
        if scores.row is not None:
            logsumexp = logsumexp + factor * scores.row.squeeze(-1)
    if normalize.sink is not None:  # one more key, whose value is zero: it takes its share of every weight
        context = context * torch.sigmoid(logsumexp - normalize.sink.float().view(1, -1, 1)).unsqueeze(-1)
    return context, dict.fromkeys(call.record, logsumexp)


def _rows(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    query, key, value, scores = _lowered(call)
    spec, extras = describe(call, scores)
    weight, scale = (scores.weight.float(), 1.0) if isinstance(scores, AdditiveScores) else (None, scores.scale)
    query, key, value = query.float(), _side_by_side(key), _side_by_side(value)
    context, seen = row_attention(
        query, key, value, weight, _bounds(call), spec, extras, scale, call.dropout, call.seed
    )
    return context, results(call, seen)


def _side_by_side(tensor: Tensor) -> Tensor:
    """In float32, rows without a gap: they are read again for every few queries."""
    return tensor.float() if tensor.stride()[2:] == (tensor.shape[3], 1) else tensor.float().contiguous()


def _bounds(call: Call) -> Tensor | None:
    return None if call.lowered_mask is None else call.lowered_mask.bounds


def _lowered(call: Call) -> tuple[Tensor, Tensor, Tensor, DotScores | AdditiveScores]:
    """Queries, keys and values as a kernel takes them, and the scores without the terms of a `WithTerm`."""
    score: Any = call.score
    while hasattr(score, "term"):
        score = score.score
    plain = score.score if score.capped and hasattr(score, "score") else score
    if isinstance(plain, Dot | ScaledDot) and call.query.dtype in TYPES:
        query, key, value = call.query, call.key, call.value
    else:
        # What is projected is kept in float32, and what nobody may see has no part in the gradients of the projection.
        query, key, value, _ = clean(call)
    scores = score.lower(query, key, call.prepared, call.place)
    assert isinstance(scores, DotScores | AdditiveScores)
    return scores.query, scores.key, value, scores
