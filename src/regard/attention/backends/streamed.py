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
    inputs, sizes = prepare(call), None
    place, groups = call.place, call.place.heads // call.key.shape[1]
    width = call.score.width(inputs.query, inputs.key)
    sizes = block_sizes(place, groups, width)
    pairs = place.batch * place.heads * place.queries * place.keys
    anew = torch.is_grad_enabled() and pairs * width > KEPT

    def over_queries(query: Tensor, key: Tensor, value: Tensor, rows: slice, heads: slice) -> Piece:
        hidden = None
        if inputs.mask is not None:
            hidden = ~_cut(inputs.mask.columns, rows, heads)
        key, value = repeated(key, value, groups, hidden)
        pieces = []
        for start, part in _split(query, sizes.queries, 2):
            block = (rows, heads, slice(start, start + part.shape[2]))
            arguments = (call, inputs, block, part, key, value)
            pieces.append(
                checkpoint(_block, *arguments, use_reentrant=False, preserve_rng_state=False)
                if anew
                else _block(*arguments)
            )
        results = {name: item.joined([seen[name] for _, seen in pieces], place) for name, item in call.record.items()}
        return torch.cat([context for context, _ in pieces], 2), results

    # Split, and not sliced: the gradient of all parts is put together once.
    whole = []
    for row, (query, key, value) in _splits((inputs.query, inputs.key, inputs.value), (sizes.rows,) * 3, 0):
        across = []
        kv_heads = sizes.heads // groups
        for head, parts in _splits((query, key, value), (sizes.heads, kv_heads, kv_heads), 1):
            rows, heads = slice(row, row + parts[0].shape[0]), slice(head, head + parts[0].shape[1])
            across.append(over_queries(*parts, rows, heads))
        whole.append(_joined(across, 1))
    context, seen = _joined(whole, 0)
    return context.to(call.query.dtype), seen


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
    """How many batch rows, heads and queries make a block."""

    rows: int
    heads: int
    queries: int


def block_sizes(place: Place, groups: int, width: int) -> Sizes:
    """As many queries as fit, then heads (whole groups that share a key), then batch rows; at least one of each."""
    budget = BLOCK.get(place.device.type, BLOCK_ELSEWHERE) // max(1, place.keys * width)
    queries = max(1, min(place.queries, budget // groups))
    shared = max(1, min(place.heads // groups, budget // (groups * max(1, queries))))
    rows = max(1, min(place.batch, budget // (groups * shared * max(1, queries))))
    return Sizes(rows, groups * shared, queries)


def _split(tensor: Tensor, size: int, axis: int) -> Iterator[tuple[int, Tensor]]:
    """The parts of a tensor, each with where it starts; one part of an empty tensor."""
    for number, part in enumerate(tensor.split(max(size, 1), axis)):
        yield number * size, part


def _splits(
    tensors: tuple[Tensor, Tensor, Tensor], sizes: tuple[int, int, int], axis: int
) -> Iterator[tuple[int, tuple[Tensor, ...]]]:
    """The parts of several tensors that belong together, each with where the first's starts."""
    parts = [_split(tensor, size, axis) for tensor, size in zip(tensors, sizes, strict=True)]
    for together in zip(*parts, strict=True):
        yield together[0][0], tuple(part for _, part in together)


def _cut(tensor: Tensor, rows: slice, heads: slice) -> Tensor:
    tensor = tensor if tensor.shape[0] == 1 else tensor[rows]
    return tensor if tensor.shape[1] == 1 else tensor[:, heads]


def _joined(pieces: list[Piece], axis: int) -> Piece:
    """Blocks of heads or of batch rows, side by side."""
    if len(pieces) == 1:
        return pieces[0]
    seen = {name: join([piece[1][name] for piece in pieces], axis) for name in pieces[0][1]}
    return torch.cat([context for context, _ in pieces], axis), seen
