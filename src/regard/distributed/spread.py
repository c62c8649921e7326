"""A call spread over ranks: its blocks one after the other, forward and backward."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from regard.attention.call import Call
from regard.attention.normalizers import Softmax
from regard.attention.observations import Observation
from regard.attention.place import Ranges
from regard.attention.scores import Score
from regard.attention.seen import Seen
from regard.distributed.arrangement import Arrangement
from regard.distributed.blocks import Block, Outcome, computed, nothing, of_block
from regard.distributed.ring import Returned, Ring
from regard.ops.once import Once

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 / phi, whose multiples lie apart from each other

# Told of each block before it is merged: of which range of queries, of which keys, the outcome so far, the block's, and
# what it saw.
Recorder = Callable[[int, tuple[int, int], Outcome, Outcome, Seen], None]


@dataclass(frozen=True, eq=False)
class Located:
    """A block, and where it lies."""

    block: Block
    number: int  # of the range of queries among this rank's
    keys: tuple[int, int]  # in the whole sequence
    rows: slice  # in this rank's tensors
    columns: slice  # in the tensors of the rank that holds the keys


@dataclass(frozen=True, eq=False, kw_only=True)
class Spread:
    """What a call is, but for its tensors: of those each rank has the part that its layouts say."""

    arrangement: Arrangement
    ring: Ring
    score: Score
    backend: str
    dropout: float = 0.0
    seed: int = 0
    record: dict[str, Observation] = field(default_factory=dict)

    def blocks(self, step: int, query: Tensor, key: Tensor, value: Tensor) -> Iterator[Located]:
        """The blocks of this rank's queries among the keys of the rank so many steps before, where they see any."""
        arrangement, source = self.arrangement, self.ring.before(step)
        held = arrangement.keys.ranges(source, self.ring.ranks)
        parts = zip(arrangement.parts, slices(arrangement.parts), arrangement.own_bounds, strict=True)
        for number, (part, rows, bounds) in enumerate(parts):
            for keys, columns in zip(held, slices(held), strict=True):
                anything, mask = arrangement.within(bounds, keys)
                if not anything:
                    continue
                call = Call(
                    query=query[:, :, rows],
                    key=key[:, :, columns],
                    value=value[:, :, columns],
                    prepared=False,
                    score=self.score,
                    normalize=Softmax(),
                    mask=mask,
                    place=arrangement.block_place(part, keys),
                    dropout=self.dropout,
                    seed=(self.seed + GOLDEN * (1 + part[0] * arrangement.place.keys + keys[0])) % 2**64,
                    record=of_block(self.record, keys, arrangement.place),
                )
                yield Located(Block.of(call, self.backend), number, keys, rows, columns)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, recorder: Recorder | None = None) -> Outcome:
        """The outcome for this rank's queries."""
        outcomes = [nothing(query[:, :, rows], value.shape[-1]) for rows in slices(self.arrangement.parts)]
        for step, others in enumerate(self.ring.blocks((key, value), self.arrangement.lengths)):
            if others is None:
                continue
            for found in self.blocks(step, query, *others):
                outcome, seen = found.block.forward()
                if recorder is not None:
                    recorder(found.number, found.keys, outcomes[found.number], outcome, seen)
                outcomes[found.number] = outcomes[found.number].merged(outcome)
        if not outcomes:  # a rank without queries
            return nothing(query, value.shape[-1])
        return Outcome(
            torch.cat([outcome.context for outcome in outcomes], 2),
            torch.cat([outcome.logsumexp for outcome in outcomes], 2),
        )

    def backward(
        self,
        tensors: tuple[Tensor, Tensor, Tensor],
        learned: tuple[Tensor, ...],
        whole: Outcome,
        of_context: Tensor,
        of_logsumexp: Tensor,
    ) -> tuple[Tensor, ...]:
        """The gradients of this rank's query, key and value, and its share of those of what is learned."""
        query, key, value = tensors
        wide = computed(query.dtype)
        of_query = torch.zeros_like(query, dtype=wide)
        own = tuple(torch.zeros_like(tensor, dtype=wide) for tensor in (key, value))
        of_learned = [torch.zeros_like(tensor) for tensor in learned]
        coming: Returned | None = None
        for step, others in enumerate(self.ring.blocks((key, value), self.arrangement.lengths)):
            made = None
            if others is not None:
                made = own if step == 0 else tuple(torch.zeros_like(tensor, dtype=wide) for tensor in others)
                for found in self.blocks(step, query, *others):
                    rows, columns = found.rows, found.columns
                    part = Outcome(whole.context[:, :, rows], whole.logsumexp[:, :, rows])
                    gradients = found.block.backward(part, of_context[:, :, rows], of_logsumexp[:, :, rows], learned)
                    targets = [of_query[:, :, rows], *(tensor[:, :, columns] for tensor in made), *of_learned]
                    for target, gradient in zip(targets, gradients, strict=True):
                        if gradient is not None:
                            target += gradient
            # What others made of this rank's keys in the step before has come while this one was worked on.
            if coming is not None:
                coming.add_to(own)
            coming = self.ring.returned(step, made, own) if step else None
        if coming is not None:
            coming.add_to(own)
        return of_query, *own, *of_learned


def slices(ranges: Ranges) -> list[slice]:
    """Where ranges lie in a tensor that holds them one after the other."""
    found, start = [], 0
    for low, high in ranges:
        found.append(slice(start, start + high - low))
        start += high - low
    return found


class Spreading(torch.autograd.Function):
    """A call spread over ranks as torch sees it: a function of this rank's tensors, with the others' in it."""

    @staticmethod
    def forward(
        ctx: Any, spread: Spread, recorder: Recorder | None, query: Tensor, key: Tensor, value: Tensor, *learned: Tensor
    ) -> tuple[Tensor, Tensor]:
        whole = spread.forward(query, key, value, recorder)
        ctx.spread = replace(spread, record={})  # a backward pass records nothing
        ctx.save_for_backward(query, key, value, whole.context, whole.logsumexp, *learned)
        return whole.context, whole.logsumexp

    @staticmethod
    def backward(ctx: Any, of_context: Tensor, of_logsumexp: Tensor) -> tuple[Tensor | None, ...]:
        query, key, value, context, logsumexp, *learned = ctx.saved_tensors
        found = ctx.spread.backward(
            (query, key, value), tuple(learned), Outcome(context, logsumexp), of_context, of_logsumexp
        )
        given = (query, key, value, *learned)
        found = tuple(gradient.to(tensor.dtype) for gradient, tensor in zip(found, given, strict=True))
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            found = tuple(Once.apply("ring", gradient, query, key, value) for gradient in found)
        return None, None, *found
