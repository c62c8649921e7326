"""Linear attention: `Kernel` with `Sum` in O(n), as sums of products of key features and values.

`context_i = phi(q_i) . S_i / phi(q_i) . z_i`, with `S_i = sum_j phi(k_j) v_j'` and `z_i = sum_j phi(k_j)` over the keys
that query i may see. A block of queries shares the sum over the keys that all of them see, which grows from block to
block; the few keys that only some see are taken pair by pair (Katharopoulos et al. 2020).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attention import intervals as sets
from regard.attention.call import Call
from regard.attention.masks import Causal, Mask
from regard.attention.observations import TopKeys
from regard.attention.padding import Documents
from regard.attention.place import Place
from regard.attention.steps import prepare, repeated

BLOCK = 128  # queries


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context; nothing can be recorded here."""
    inputs, place, mask = prepare(call), call.place, None
    key, value = repeated(inputs.key, inputs.value, place.heads // inputs.key.shape[1], None)
    # A column of ones: the sums of the weights come with the weighed values.
    query, value = inputs.query, torch.cat((value, torch.ones_like(value[..., :1])), -1)
    bounds = None
    if inputs.mask is not None:
        mask = inputs.mask
        # Keys that nobody sees add nothing, so that padding needs no more: what is left is causal, or documents.
        key = key.masked_fill(~mask.columns, 0.0)
        bounds = _intervals([part for part in mask.mask.parts() if isinstance(part, Causal | Documents)], place)
    if bounds is None:
        sums = query @ (key.mT @ value)
    elif bounds.shape[0] == 1:
        sums = _sums(query, key, value, bounds[0, 0, :, 0])
    else:
        rows = zip(query.split(1), key.split(1), value.split(1), bounds[:, 0, :, 0], strict=True)
        sums = torch.cat([_sums(*row) for row in rows])
    if mask is not None:
        sums = sums.masked_fill(~mask.rows, 0.0)
    context, total = sums[..., :-1], sums[..., -1:]
    return (context / total.masked_fill(total == 0, 1.0)).to(call.query.dtype), {}


def _intervals(parts: list[Mask], place: Place) -> Int[Tensor, "rows 1 queries 1 2"] | None:
    """The one interval of keys that each query sees under all of `parts`, or None where there are none."""
    bounds: Tensor | None = None
    for part in parts:
        more = part.intervals(place)
        assert more is not None  # these masks have intervals
        bounds = more if bounds is None else sets.intersect(bounds, more, place.keys)
    return bounds


def _sums(
    query: Float[Tensor, "batch heads queries features"],
    key: Float[Tensor, "batch heads keys features"],
    value: Float[Tensor, "batch heads keys value_dim"],
    bounds: Int[Tensor, "queries 2"],
) -> Float[Tensor, "batch heads queries value_dim"]:
    """`sum_j (query_i . key_j) value_j` over `bounds[i, 0] <= j < bounds[i, 1]`."""
    index = torch.arange(key.shape[2], device=key.device)
    state: Tensor | None = None  # the sum over the keys from summed[0] to summed[1]
    summed = (0, 0)
    pieces = []
    for part, edges in zip(query.split(BLOCK, 2), bounds.split(BLOCK), strict=True):
        low, high = edges.unbind(-1)
        some = low < high
        if not bool(some.any()):
            pieces.append(part.new_zeros(*part.shape[:3], value.shape[-1]))
            continue
        reach = (int(low[some].min()), int(high[some].max()))
        core = (int(low[some].max()), int(high[some].min()))
        if core[0] >= core[1]:
            core = (reach[1], reach[1])
        total = part.new_zeros(())
        if core[0] < core[1]:
            if core[0] != summed[0] or core[1] < summed[1]:  # another document
                state, summed = None, (core[0], core[0])
            new = slice(summed[1], core[1])
            added = key[:, :, new].mT @ value[:, :, new]
            state, summed = (added if state is None else state + added), core
            total = part @ state
        for edge in (slice(reach[0], core[0]), slice(core[1], reach[1])):
            if edge.start < edge.stop:
                sees = (index[edge] >= low.unsqueeze(-1)) & (index[edge] < high.unsqueeze(-1))
                total = total + (part @ key[:, :, edge].mT).masked_fill(~sees, 0.0) @ value[:, :, edge]
        pieces.append(total)
    return torch.cat(pieces, 2) if pieces else query.new_zeros(*query.shape[:3], value.shape[-1])
