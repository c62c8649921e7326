"""Everything in O(n) memory, on any device: the four steps in plain torch, a block of queries at a time.

A block holds the whole rows of its queries, over the keys that any of them may see. So every normaliser and every
observation is its own definition, exact, and needs no form that is merged from block to block. How many queries make
a block follows from how many keys there are: a block is as large as a cache, not as the call. Going back, each block
is computed anew from its inputs (Chen et al. 2016, checkpointing).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.utils.checkpoint import checkpoint

from regard.attention.call import Call
from regard.attention.observations import Matrices, TopKeys, join
from regard.attention.place import Place
from regard.attention.steps import Inputs, drop, prepare, repeated, weigh

# Numbers that a block holds for its pairs: as many as a CPU's cache takes, and enough to keep a GPU busy.
BLOCK = {"cpu": 2**20}
BLOCK_ELSEWHERE = 2**25
# A call no larger than this is not computed anew going back.
KEPT = 2**22

Piece = tuple[Tensor, dict[str, Tensor | TopKeys]]


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context, and what was asked to be recorded."""
    inputs, place, groups = prepare(call), call.place, call.place.heads // call.key.shape[1]
    sizes = block_sizes(place, groups, call.score.width(inputs.query, inputs.key))
    kv_heads = sizes.heads // groups
    # Split, and not sliced: the gradients of all parts are put together once.
    rows = []
    for row, of_row in _split((inputs.query, inputs.key, inputs.value), (sizes.rows,) * 3, 0):
        heads = []
        for head, (query, key, value) in _split(of_row, (sizes.heads, kv_heads, kv_heads), 1):
            part = (slice(row, row + query.shape[0]), slice(head, head + query.shape[1]))
            heads.append(_queries(call, inputs, part, query, key, value, sizes))
        rows.append(_joined(heads, 1))
    context, seen = _joined(rows, 0)
    return context.to(call.query.dtype), seen


def _queries(
    call: Call, inputs: Inputs, part: tuple[slice, slice], query: Tensor, key: Tensor, value: Tensor, sizes: "Sizes"
) -> Piece:
    """All queries of some heads of some batch rows, block by block."""
    hidden = None
    if inputs.mask is not None:
        hidden = ~inputs.mask.columns
        hidden = hidden if hidden.shape[0] == 1 else hidden[part[0]]
        hidden = hidden if hidden.shape[1] == 1 else hidden[:, part[1]]
    key, value = repeated(key, value, query.shape[1] // key.shape[1], hidden)
    pieces = []
    for start, (some,) in _split((query,), (sizes.queries,), 2):
        block = (*part, slice(start, start + some.shape[2]))
        if torch.is_grad_enabled() and sizes.anew:
            pieces.append(
                checkpoint(_block, call, inputs, block, some, key, value, use_reentrant=False, preserve_rng_state=False)
            )
        else:
            pieces.append(_block(call, inputs, block, some, key, value))
    seen = {name: item.joined([each[name] for _, each in pieces], call.place) for name, item in call.record.items()}
    return torch.cat([context for context, _ in pieces], 2), seen


def _block(
    call: Call, inputs: Inputs, part: tuple[slice, slice, slice], query: Tensor, key: Tensor, value: Tensor
) -> Piece:
    """The four steps for some queries of some heads of some batch rows."""
    place = call.place.block(*part)  # made in here: torch.compile lets a checkpoint change nothing from outside
    reached, allowed = place, None
    if inputs.mask is not None:
        if not torch.compiler.is_compiling():
            columns = inputs.mask.reach(place)
            if columns != ((0, place.keys),):
                reached = place.block(*part, columns)
                key, value = reached.cut_keys(key, -2), reached.cut_keys(value, -2)
        allowed = inputs.mask.allowed_in(reached)
    scores = call.score.matrix(query, key, reached)
    weights = call.normalize.weights(scores, allowed, reached, call.seed)
    context = weigh(drop(weights, call, reached), value, allowed)
    if not call.record:
        return context, {}
    if reached is not place:
        scores, weights, allowed = _wide(scores, reached), _wide(weights, reached), inputs.mask.allowed_in(place)  # type: ignore[union-attr]
    matrices = Matrices(scores, weights, allowed, place)
    return context, {name: item.of(matrices) for name, item in call.record.items()}


def _wide(part: Tensor, place: Place) -> Tensor:
    """Over all keys again, zero outside of those that were reached."""
    pieces, done, taken = [], 0, 0
    for low, high in place.columns or ():
        pieces.append(pad(part.narrow(-1, taken, high - low), (low - done, 0)))
        taken, done = taken + high - low, high
    wide = torch.cat(pieces, -1) if pieces else part
    return pad(wide, (0, place.keys - done))


@dataclass(frozen=True)
class Sizes:
    """How many batch rows, heads and queries make a block, and whether blocks are computed anew going back."""

    rows: int
    heads: int
    queries: int
    anew: bool


def block_sizes(place: Place, groups: int, width: int) -> Sizes:
    """As many queries as fit, then heads (whole groups that share a key), then batch rows; at least one of each."""
    if any(isinstance(size, torch.SymInt) for size in (place.batch, place.queries, place.keys)):
        # A graph that is exported for all sizes cannot have blocks whose number follows from them.
        return Sizes(place.batch, place.heads, place.queries, anew=False)
    row = max(1, place.keys * width)
    budget = BLOCK.get(place.device.type, BLOCK_ELSEWHERE) // row
    queries = max(1, min(place.queries, budget // groups))
    shared = max(1, min(place.heads // groups, budget // (groups * queries)))
    rows = max(1, min(place.batch, budget // (groups * shared * queries)))
    return Sizes(rows, groups * shared, queries, place.batch * place.heads * place.queries * row > KEPT)


def _split(tensors: tuple[Tensor, ...], sizes: tuple[int, ...], axis: int) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """The parts of several tensors that belong together, each with where the first's starts; one part of nothing."""
    if sizes[0] >= tensors[0].shape[axis]:
        yield 0, tensors
        return
    parts = [tensor.split(size, axis) for tensor, size in zip(tensors, sizes, strict=True)]
    for number, together in enumerate(zip(*parts, strict=True)):
        yield number * sizes[0], together


def _joined(pieces: list[Piece], axis: int) -> Piece:
    """Blocks of heads or of batch rows, side by side."""
    if len(pieces) == 1:
        return pieces[0]
    seen = {name: join([each[name] for _, each in pieces], axis) for name in pieces[0][1]}
    return torch.cat([context for context, _ in pieces], axis), seen
