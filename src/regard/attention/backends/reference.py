"""The four steps of attention as plain torch, materialised: the oracle of every test, and the page to learn from.

Any dtype, any score, any mask; O(n^2) memory. 16-bit inputs are computed in float32 and rounded once.
"""

from torch import Tensor

from regard.attention.call import Call
from regard.attention.observations import Matrices, TopKeys
from regard.attention.steps import drop, prepare, repeated, weigh


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context, and what was asked to be recorded."""
    inputs, place, groups = prepare(call), call.place, call.place.heads // call.key.shape[1]
    allowed, hidden = (None, None) if inputs.mask is None else (inputs.mask.allowed, ~inputs.mask.columns)
    query, (key, value) = inputs.query, repeated(inputs.key, inputs.value, groups, hidden)

    scores = call.score.matrix(query, key, place)  # 1. how well does each key answer each query?
    weights = call.normalize.weights(scores, allowed, place, call.seed)  # 2. shares, over the keys that may be seen
    context = weigh(drop(weights, call, place), value, allowed)  # 3. the values, weighed  # 4. what comes back

    matrices = Matrices(scores, weights, allowed, place)
    seen = {name: item.of(matrices) for name, item in call.record.items()}
    return context.to(call.query.dtype), seen
