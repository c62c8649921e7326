"""The project's own kernels for CPUs (csrc): dot and additive scores, softmax, intervals of keys; both passes."""

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.lowering import AdditiveScores, DotScores
from regard.attention.normalizers import Softmax
from regard.attention.observations import TopKeys
from regard.attention.scores import Dot, ScaledDot
from regard.attention.steps import clean
from regard.ops.additive import additive_attention
from regard.ops.attention import attention


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context; nothing can be recorded here."""
    assert isinstance(call.normalize, Softmax)  # `capabilities` has seen to it
    bounds = None if call.lowered_mask is None else call.lowered_mask.bounds
    if call.score.form == "additive":
        query, key, value, _ = clean(call)
        hidden = call.score.lower(query, key, call.prepared, call.place)
        assert isinstance(hidden, AdditiveScores)
        scale = 1.0 / call.normalize.temperature
        context = additive_attention(
            hidden.query, hidden.key, value, hidden.weight.float(), bounds, scale, call.dropout, call.seed
        )
    else:
        scores, value = _products(call)
        scale = scores.scale / call.normalize.temperature
        context = attention(scores.query, scores.key, value, bounds, scale, call.dropout, call.seed)
    return context.to(call.query.dtype), {}


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
        scores = DotScores(torch.cat((query, ones), -1), torch.cat((key, column), -1), scores.scale)
    return scores, value
