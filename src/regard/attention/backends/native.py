"""The project's own kernels for CPUs (csrc), in both passes: dot and additive scores, softmax and sparse weights."""

from dataclasses import replace

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import AdditiveScores, DotScores
from regard.attention.normalizers import Entmax15, Softmax, Sparsemax
from regard.attention.observations import TopKeys
from regard.attention.scores import Dot, ScaledDot
from regard.attention.steps import clean
from regard.ops.additive import additive_attention
from regard.ops.attention import attention_and_logsumexp
from regard.ops.sparse import sparse_attention


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context; of what can be recorded, the log-sum-exp alone."""
    if isinstance(call.normalize, Sparsemax | Entmax15):
        return _sparse(call, 1 if isinstance(call.normalize, Sparsemax) else 2).to(call.query.dtype), {}
    assert isinstance(call.normalize, Softmax)  # `capabilities` has seen to it
    context, logsumexp = _softmax(call, 1.0 / call.normalize.temperature)
    sink = call.normalize.sink
    if sink is not None:  # one more key, whose value is zero: it takes its share of every weight
        context = context * torch.sigmoid(logsumexp - sink.float().view(1, -1, 1)).unsqueeze(-1)
    return context.to(call.query.dtype), dict.fromkeys(call.record, logsumexp)


def _softmax(call: Call, factor: float) -> tuple[Tensor, Tensor]:
    """Context and log-sum-exp under softmax of `factor` times the scores."""
    bounds = _bounds(call)
    if call.score.form != "additive":
        scores, value = _products(call)
        context, logsumexp = attention_and_logsumexp(
            scores.query, scores.key, value, bounds, scores.scale * factor, call.dropout, call.seed
        )
        # What is the same for all keys of a query changes no weight, but it is in the scores.
        return context, logsumexp if scores.row is None else logsumexp + factor * scores.row.squeeze(-1)
    query, key, value, _ = clean(call)
    hidden = call.score.lower(query, key, call.prepared, call.place)
    assert isinstance(hidden, AdditiveScores)
    weight = hidden.weight.float()
    return additive_attention(hidden.query, hidden.key, value, weight, bounds, factor, call.dropout, call.seed)


def _sparse(call: Call, power: int) -> Tensor:
    """The context under sparsemax (power 1) or 1.5-entmax (power 2), in float32."""
    scores, value = _products(call)
    query, key, value = scores.query.float(), scores.key.float(), value.float()
    return sparse_attention(query, key, value, _bounds(call), scores.scale, power, call.dropout, call.seed)


def _bounds(call: Call) -> Tensor | None:
    return None if call.lowered_mask is None else call.lowered_mask.bounds


def _products(call: Call) -> tuple[DotScores, Tensor]:
    """The scores as products of queries and keys and nothing else, and the values."""
    if isinstance(call.score, Dot | ScaledDot):
        scores = call.lowered
        assert isinstance(scores, DotScores)
        return scores, call.value
    # What is projected is kept in float32, and what nobody may see has no part in the gradients of the projection.
    query, key, value, _ = clean(call)
    scores = call.score.lower(query, key, call.prepared, call.place)
    assert isinstance(scores, DotScores)
    for term in scores.terms:  # one number a key, as a Gaussian has: one more feature of it, of which queries have 1
        query, key = scores.query, scores.key
        ones = query.new_full((*query.shape[:-1], 1), 1.0 / scores.scale)
        column = term.matrix(call.place)[:, :: query.shape[1] // key.shape[1]].mT
        scores = replace(scores, query=torch.cat((query, ones), -1), key=torch.cat((key, column), -1))
    return scores, value
