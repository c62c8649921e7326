"""Calls that `watch` keeps, to be asked later what nobody asked while they ran."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from regard.attention.call import Call, recording
from regard.attention.capabilities import choose
from regard.attention.observations import Observation
from regard.attention.running import run
from regard.attention.seen import Seen, named


@dataclass(frozen=True, eq=False)
class Kept:
    """A call with its inputs, O(n) numbers, and the context that it gave, in the graph that it was part of."""

    call: Call
    context: Float[Tensor, "batch heads queries value_dim"]

    def observe(self, *observations: Observation, **names: Observation) -> Seen:
        """What the call saw: `regard.observe` once more, exact, at the cost of a call; without gradient.

        Raises:
            ValueError: without observations, or for some that were made for other sizes.
        """
        record = named(observations, names)
        if not record:
            raise ValueError("observe needs something to record: kept.observe(regard.TopK(8))")
        call = replace(self.call, record=recording(self.call.normalize, self.call.place, record))
        with torch.no_grad():
            return run(call, choose(call, "auto"))[1]
