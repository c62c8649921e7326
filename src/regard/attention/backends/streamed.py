"""Everything in O(n) memory, on any device: the four steps in plain torch, a block of queries at a time.

A block holds the whole rows of its queries, over the keys that any of them may see. So every normaliser and every
observation is its own definition, exact, and needs no form that is merged from block to block. How many queries make
a block follows from how many keys there are: a block is as large as a cache, not as the call. Going back, each block
is computed anew from its inputs (Chen et al. 2016).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
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

Seen = dict[str, Tensor | TopKeys]
Piece = tuple[Tensor, Seen]


def run(call: Call) -> Piece:
    """The context, and what was asked to be recorded."""
    inputs, place, groups = prepare(call), call.place, call.place.heads // call.key.shape[1]
    sizes = block_sizes(place, groups, call.score.width(inputs.query, inputs.key))
    kv_heads = sizes.heads // groups
    # Split, and not sliced: the gradients of all parts are put together once.
    rows = []
    for row, of_row in _split((inputs.query, inputs.key, inputs.value), (sizes.rows,) * 3, 0):
        heads = []
        for head, (query, key, value) in _split(of_row, (sizes.heads, kv_heads, kv_heads), 1):
            part = Part(call, inputs, slice(row, row + query.shape[0]), slice(head, head + query.shape[1]), sizes)
            key, value = repeated(key, value, groups, part.hidden)
            heads.append(_compute(part, query, key, value))
        rows.append(_joined(heads, 1))
    context, seen = _joined(rows, 0)
    return context.to(call.query.dtype), seen


@dataclass(frozen=True, eq=False)
class Part:
    """All queries of some heads of some batch rows."""

    call: Call
    inputs: Inputs
    rows: slice
    heads: slice
    sizes: "Sizes"

    @property
    def hidden(self) -> Tensor | None:
        """The keys that no query of this part may see."""
        if self.inputs.mask is None:
            return None
        hidden = ~self.inputs.mask.columns
        hidden = hidden if hidden.shape[0] == 1 else hidden[self.rows]
        return hidden if hidden.shape[1] == 1 else hidden[:, self.heads]

    def blocks(self, query: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """The queries of each block, with their numbers."""
        for start, (some,) in _split((query,), (self.sizes.queries,), 2):
            yield slice(start, start + some.shape[2]), some


def _compute(part: Part, query: Tensor, key: Tensor, value: Tensor) -> Piece:
    """A part: with the graph that torch makes where that is small, and otherwise computed anew going back."""
    graph = torch.is_grad_enabled()
    if torch.compiler.is_compiling() or (graph and not part.sizes.anew):
        return _graphed(part, query, key, value)
    if not graph:
        return _named(*_passed(part, query, key, value))
    learned = _learned(part.call)
    if learned is None:
        return _graphed(part, query, key, value)
    layout: list[str] = []
    return _named(layout, _Anew.apply(part, layout, query, key, value, *learned))


def _graphed(part: Part, query: Tensor, key: Tensor, value: Tensor) -> Piece:
    """A part with its graph. Large ones are checkpointed by torch's own means, which torch.compile understands, and
    which find every tensor that a score or a normaliser of the user's own may hold."""
    contexts: list[Tensor] = []
    pieces: dict[str, list[Any]] = {name: [] for name in part.call.record}
    for numbers, some in part.blocks(query):
        arguments = (part, numbers, some, key, value)
        if torch.is_grad_enabled() and part.sizes.anew:
            context, seen = checkpoint(_block, *arguments, use_reentrant=False, preserve_rng_state=False)
        else:
            context, seen = _block(*arguments)
        contexts.append(context)
        for name, piece in seen.items():
            adds = part.call.record[name].adds and pieces[name]
            pieces[name] = [pieces[name][0] + piece] if adds else [*pieces[name], piece]
    whole = contexts[0] if len(contexts) == 1 else torch.cat(contexts, 2)
    return whole, {name: join(found, 2) for name, found in pieces.items()}


def _passed(part: Part, query: Tensor, key: Tensor, value: Tensor) -> tuple[list[str], list[Tensor]]:
    """A part without a graph: the names of what was recorded, and the context followed by its tensors.

    Results are written to where they stay. Blocks go from the last to the first: under a causal mask each then fits
    into the memory that the one before has left. Small things that stay, and blocks that grow, would tear it to pieces.
    """
    layout: list[str] = []
    whole: list[Tensor] = []
    for numbers, some in reversed(list(part.blocks(query))):
        context, seen = _block(part, numbers, some, key, value)
        pieces = [context, *_flat(seen)]
        if not whole:
            layout = [name for name, result in seen.items() for _ in _flat({name: result})]
            adds = [False, *(part.call.record[name].adds for name in layout)]
            whole = [
                torch.zeros_like(piece) if add else piece.new_empty(*piece.shape[:2], query.shape[2], *piece.shape[3:])
                for piece, add in zip(pieces, adds, strict=True)
            ]
        for total, piece, add in zip(whole, pieces, adds, strict=True):
            if add:
                total.add_(piece)
            else:
                total[:, :, numbers] = piece
        del context, seen, pieces, piece
    return layout, whole


def _named(layout: Sequence[str], tensors: Sequence[Tensor]) -> Piece:
    """The context, and what was recorded by name: two tensors of one name are keys and weights."""
    context, *recorded = tensors
    seen: Seen = {}
    for name, tensor in zip(layout, recorded, strict=True):
        seen[name] = TopKeys(seen[name], tensor) if name in seen else tensor  # type: ignore[arg-type]
    return context, seen


def _flat(seen: Seen) -> list[Tensor]:
    """Every tensor of what was recorded, in order."""
    found: list[Tensor] = []
    for result in seen.values():
        found += [result.keys, result.weights] if isinstance(result, TopKeys) else [result]
    return found


def _learned(call: Call) -> list[Tensor] | None:
    """The tensors with gradient that a call's score, terms and normaliser hold; None where some may stay unknown."""
    score: Any = call.score
    holders: list[Any] = [call.normalize, score, *score.terms()]
    while hasattr(score, "score"):
        score = score.score
        holders.append(score)
    found: dict[int, Tensor] = {}
    for holder in holders:
        if not type(holder).__module__.startswith("regard."):
            return None
        own = [*holder.parameters(), *holder.buffers()] if isinstance(holder, nn.Module) else vars(holder).values()
        found |= {id(item): item for item in own if isinstance(item, Tensor) and item.requires_grad}
    return list(found.values())


class _Anew(torch.autograd.Function):
    """A part without a graph; going back, each block is computed again with one, and its gradients are added up."""

    @staticmethod
    def forward(
        ctx: Any, part: Part, layout: list[str], query: Tensor, key: Tensor, value: Tensor, *learned: Tensor
    ) -> tuple[Tensor, ...]:
        names, tensors = _passed(part, query, key, value)
        layout += names
        items = [part.call.record[name] for name in names]
        ctx.save_for_backward(query, key, value, *learned)
        ctx.part, ctx.adds = part, [False, *(item.adds for item in items)]
        ctx.set_materialize_grads(False)
        recorded = zip(tensors[1:], items, strict=True)
        ctx.mark_non_differentiable(*(tensor for tensor, item in recorded if not item.has_gradient))
        return tuple(tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        part, tensors = ctx.part, ctx.saved_tensors
        if torch.is_grad_enabled():  # a second derivative is wanted, and so the graph of everything
            # Views: a key that is the value too is two inputs.
            inputs = [*(tensor.view_as(tensor) for tensor in tensors[:3]), *tensors[3:]]
            found = _gradients(_graphed(part, *inputs[:3]), gradients, inputs, create_graph=True)
        else:
            found = _summed(part, tensors, gradients, ctx.adds)
        return None, None, *found


def _gradients(
    piece: Piece, gradients: Sequence[Tensor | None], inputs: Sequence[Tensor], *, create_graph: bool = False
) -> Sequence[Tensor | None]:
    """The gradients of the inputs, given those of a piece's tensors."""
    context, seen = piece
    pairs = [
        (tensor, gradient)
        for tensor, gradient in zip([context, *_flat(seen)], gradients, strict=True)
        if gradient is not None and tensor.requires_grad
    ]
    wanted = [number for number, tensor in enumerate(inputs) if tensor.requires_grad]
    found: list[Tensor | None] = [None] * len(inputs)
    if pairs and wanted:
        outputs, given = zip(*pairs, strict=True)
        some = [inputs[number] for number in wanted]
        gradients = torch.autograd.grad(outputs, some, given, create_graph=create_graph, allow_unused=True)
        for number, gradient in zip(wanted, gradients, strict=True):
            found[number] = gradient
    return found


def _summed(
    part: Part, tensors: Sequence[Tensor], gradients: Sequence[Tensor | None], adds: Sequence[bool]
) -> list[Tensor]:
    """The gradients of a part's tensors, block by block and in order, without a graph of more than one block."""
    query, key, value, *learned = tensors
    totals = [torch.zeros_like(tensor) for tensor in tensors]
    key, value = key.detach().requires_grad_(), value.detach().requires_grad_()
    for numbers, some in reversed(list(part.blocks(query.detach()))):
        of_block = [
            gradient if gradient is None or added else gradient[:, :, numbers]
            for gradient, added in zip(gradients, adds, strict=True)
        ]
        leaves = [some.requires_grad_(), key, value, *learned]
        with torch.enable_grad():
            found = _gradients(_block(part, numbers, *leaves[:3]), of_block, leaves)
        for number, gradient in enumerate(found):
            if gradient is not None:
                (totals[number] if number else totals[0][:, :, numbers]).add_(gradient)
        del found, gradient, leaves
    return totals


def _block(part: Part, numbers: slice, query: Tensor, key: Tensor, value: Tensor) -> Piece:
    """The four steps for some queries of a part."""
    call, inputs = part.call, part.inputs
    place = call.place.block(
        part.rows, part.heads, numbers
    )  # made in here: torch.compile lets a checkpoint change nothing from outside
    reached, allowed = place, None
    if inputs.mask is not None:
        if not torch.compiler.is_compiling():
            columns = inputs.mask.reach(place)
            if columns != ((0, place.keys),):
                reached = place.block(part.rows, part.heads, numbers, columns)
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
