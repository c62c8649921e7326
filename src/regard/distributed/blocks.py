"""One block of a call that is spread over ranks: some of its queries among some of its keys."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention import capabilities
from regard.attention.call import Call
from regard.attention.normalizers import Softmax
from regard.attention.observations import LogSumExp, Mass, Observation, Received
from regard.attention.place import Place
from regard.attention.running import run
from regard.attention.seen import Seen
from regard.attention.terms import Term

LOG_SUM_EXP = "log-sum-exp of a block"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What queries make of some keys: the context, and the log-sum-exp of the scores that it is a mean by."""

    context: Float[Tensor, "batch heads queries value_dim"]
    logsumexp: Float[Tensor, "batch heads queries"]

    def share(self, of: Float[Tensor, "batch heads queries"]) -> Float[Tensor, "batch heads queries"]:
        """How much of the weight of a query is on these keys, where the log-sum-exp of all is `of`."""
        return (self.logsumexp - of.masked_fill(of == -torch.inf, 0.0)).exp()

    def merged(self, other: "Outcome") -> "Outcome":
        """What they make of these keys and the other's."""
        logsumexp = torch.logaddexp(self.logsumexp, other.logsumexp)
        context = self.context * self.share(logsumexp).unsqueeze(-1)
        return Outcome(context.addcmul_(other.context, other.share(logsumexp).unsqueeze(-1)), logsumexp)


def nothing(query: Tensor, value_width: int) -> Outcome:
    """What queries make of no keys at all, in the dtype that blocks are computed in."""
    context = query.new_zeros(*query.shape[:3], value_width, dtype=computed(query.dtype))
    return Outcome(context, context.new_full(query.shape[:3], -torch.inf))


def computed(dtype: torch.dtype) -> torch.dtype:
    """What a block is computed in: outcomes are merged before anything is rounded to 16 bits."""
    return torch.float64 if dtype == torch.float64 else torch.float32


@dataclass(frozen=True, eq=False)
class Block:
    """A block as a call of its own, whose normaliser is a softmax over its keys."""

    call: Call
    backend: str

    @classmethod
    def of(cls, call: Call, backend: str) -> "Block":
        """The block of a call of `attend` or `observe`, with what merging needs recorded too."""
        dtype = computed(call.query.dtype)
        call = replace(
            call,
            query=call.query.to(dtype),
            key=call.key.to(dtype),
            value=call.value.to(dtype),
            normalize=Softmax(),
            record={**call.record, LOG_SUM_EXP: LogSumExp()},
        )
        return cls(call, capabilities.choose(call, backend))

    def forward(self) -> tuple[Outcome, Seen]:
        """The outcome, and what else was recorded."""
        context, seen = run(self.call, self.backend)
        logsumexp = seen[LOG_SUM_EXP]
        assert isinstance(logsumexp, Tensor)
        return Outcome(context, logsumexp.to(context.dtype)), seen

    def biased(self, term: Term) -> Outcome:
        """The outcome under one more term of the scores, with its graph."""
        with torch.enable_grad():
            call = replace(self.call, score=self.call.score + term)
            return Block(call, capabilities.choose(call, self.backend)).forward()[0]

    def backward(
        self, whole: Outcome, of_context: Tensor, of_logsumexp: Tensor, learned: Sequence[Tensor]
    ) -> tuple[Tensor | None, ...]:
        """What the block adds to the gradients of query, key, value and what is learned.

        The gradient of the whole context is spread over the blocks by their shares s: a block's own context has s times
        it, and its log-sum-exp s times how far that context is from the whole one along it. The block is computed again
        for that, but by kernels that do without.

        Args:
            whole: the outcome of all blocks.
            of_context, of_logsumexp: the gradients of that outcome.
            learned: tensors inside the score.
        """
        if self.backend == "native":
            from regard.attention.backends.native import gradients

            found = gradients(self.call, whole.context, whole.logsumexp, of_context, of_logsumexp)
            if found is not None:
                return (*found, *[None] * len(learned))
        leaves = [tensor.detach().requires_grad_() for tensor in (self.call.query, self.call.key, self.call.value)]
        with torch.enable_grad():
            call = replace(self.call, query=leaves[0], key=leaves[1], value=leaves[2])
            outcome, _ = Block(call, capabilities.choose(call, self.backend)).forward()
        share = outcome.share(whole.logsumexp).detach()
        apart = (of_context * (outcome.context.detach() - whole.context)).sum(-1) + of_logsumexp
        return torch.autograd.grad(
            (outcome.context, outcome.logsumexp),
            [*leaves, *learned],
            (of_context * share.unsqueeze(-1), share * apart),
            allow_unused=True,
        )


def of_block(record: dict[str, Observation], keys: tuple[int, int], whole: Place) -> dict[str, Observation]:
    """What is recorded of a block of some keys of the whole call: what speaks of chosen keys, of those among these."""
    found: dict[str, Observation] = {}
    for name, item in record.items():
        if isinstance(item, Mass):
            found[name] = Mass(item.chosen(whole)[:, keys[0] : keys[1]])
        elif not isinstance(item, Received | LogSumExp):  # known when all blocks are merged
            found[name] = item
    return found
