"""A checked call, run on the backend that was chosen for it."""

from contextlib import nullcontext
from dataclasses import replace

import torch
from torch import Tensor

from regard.attention import capabilities
from regard.attention.call import Call
from regard.attention.seen import Seen
from regard.ops.random import draw_seed


def seeded(call: Call) -> Call:
    """The call with a seed of its own, if it draws: run again, it draws the same."""
    if call.dropout > 0.0 or call.normalize.draws:
        return replace(call, seed=draw_seed())
    return call


def run(call: Call, backend: str) -> tuple[Tensor, Seen]:
    """The context and what was recorded; tensors are as wide as the call has them, whatever autocast would do."""
    device = call.query.device.type
    autocast = torch.amp.is_autocast_available(device)  # checked_call has cast as it asks
    with torch.autocast(device, enabled=False) if autocast else nullcontext():
        context, seen = capabilities.runner(backend)(call)
    return context, Seen(seen)
