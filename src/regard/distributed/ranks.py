"""The group of a call, and what each rank of it holds."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

from regard.distributed.layouts import Contiguous, Layout

Group = dist.ProcessGroup | DeviceMesh | None


@dataclass(frozen=True, eq=False)
class Ranks:
    """A process group, the layouts of queries and of keys on its ranks, and which of them this process is."""

    group: dist.ProcessGroup
    queries: Layout
    keys: Layout
    rank: int
    count: int

    @classmethod
    def of(cls, group: Group, layout: Layout | None, key_layout: Layout | None, query: Tensor, key: Tensor) -> "Ranks":
        """Those of a call; where no layout is given, the ranks tell each other how much they hold."""
        members = process_group(group)
        rank, count = dist.get_rank(members), dist.get_world_size(members)
        queries, keys = layout, layout if key_layout is None else key_layout
        if queries is None or keys is None:
            held = torch.tensor([query.shape[2], key.shape[2]], device=query.device)
            everyone = [torch.empty_like(held) for _ in range(count)]
            dist.all_gather(everyone, held, group=members)
            sizes, key_sizes = (tuple(column) for column in torch.stack(everyone).T.tolist())
            queries = Contiguous(sum(sizes), sizes) if queries is None else queries
            keys = Contiguous(sum(key_sizes), key_sizes) if keys is None else keys
        for name, tensor, its in (("query", query, queries), ("key", key, keys)):
            its.check(count)
            if tensor.shape[2] != its.size(rank, count):
                raise ValueError(
                    f"{name} {tuple(tensor.shape)} has {tensor.shape[2]} positions, but by {its!r} rank {rank} of "
                    f"{count} holds {its.size(rank, count)}: cut the whole with regard.distributed.shard, or give "
                    f"another {'layout' if name == 'query' else 'key_layout'}"
                )
        return cls(members, queries, keys, rank, count)


def process_group(group: Group) -> dist.ProcessGroup:
    """The process group that is meant.

    Raises:
        ValueError: there is none, or this process is not in it, or a mesh has several dimensions.
    """
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError(
            "there is no process group: start the processes with torchrun and call "
            "torch.distributed.init_process_group(), or call regard.attend in one process"
        )
    if isinstance(group, DeviceMesh):
        if group.ndim != 1:
            raise ValueError(
                f"group is a mesh of {group.ndim} dimensions; give the one along which the sequence lies: mesh[name]"
            )
        group = group.get_group()
    found = dist.group.WORLD if group is None else group
    if found is None or dist.get_rank(found) < 0:
        raise ValueError("this process is not in the group: call it on the ranks of the group alone")
    return found
