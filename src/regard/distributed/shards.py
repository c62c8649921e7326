"""Cutting a sequence into what each rank holds, and putting it together again."""

import torch
import torch.distributed as dist
from torch import Tensor

from regard.distributed.layouts import Layout


def shard(tensor: Tensor, layout: Layout, *, axis: int = 2, group: dist.ProcessGroup | None = None) -> Tensor:
    """What this rank holds of a tensor that every rank has whole.

    Args:
        tensor: of any shape, `layout.length` long along `axis`.
        layout: which positions each rank holds.
        axis: of the positions; by default that of queries and keys in `(batch, heads, length, width)`.
        group: a process group; None: all processes.

    Raises:
        ValueError: for a tensor of another length.
    """
    layout.check(dist.get_world_size(group))
    if tensor.shape[axis] != layout.length:
        raise ValueError(
            f"{layout!r} cuts {layout.length} positions, but axis {axis} of {tuple(tensor.shape)} has others"
        )
    ranges = layout.ranges(dist.get_rank(group), dist.get_world_size(group))
    parts = [tensor.narrow(axis, low, high - low) for low, high in ranges]
    return torch.cat(parts, axis) if parts else tensor.narrow(axis, 0, 0)


def gather(tensor: Tensor, layout: Layout, *, axis: int = 2, group: dist.ProcessGroup | None = None) -> Tensor:
    """The whole of a tensor of which each rank holds its part, on every rank; without gradient.

    Arguments and errors are those of `shard`.
    """
    rank, ranks = dist.get_rank(group), dist.get_world_size(group)
    layout.check(ranks)
    if tensor.shape[axis] != layout.size(rank, ranks):
        raise ValueError(
            f"by {layout!r} rank {rank} of {ranks} holds {layout.size(rank, ranks)} positions, but axis {axis} of "
            f"{tuple(tensor.shape)} has others"
        )
    first = tensor.detach().movedim(axis, 0)
    longest = max(layout.size(other, ranks) for other in range(ranks))
    padded = first.new_zeros(longest, *first.shape[1:])
    padded[: len(first)] = first
    everyone = [torch.empty_like(padded) for _ in range(ranks)]
    dist.all_gather(everyone, padded, group=group)
    whole = first.new_empty(layout.length, *first.shape[1:])
    for other, held in enumerate(everyone):
        start = 0
        for low, high in layout.ranges(other, ranks):
            whole[low:high] = held[start : start + high - low]
            start += high - low
    return whole.movedim(0, axis)
