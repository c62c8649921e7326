"""Passing tensors around a ring of processes: everybody's to whoever needs them, and what comes of them back."""

from collections.abc import Iterator, Sequence

import torch
import torch.distributed as dist
from torch import Tensor

FORTH, BACK = 1, 2  # tags: what is handed out, and what is returned


class Ring:
    """The ranks of a group in a circle, at one of which this process is.

    At step t everybody has the tensors of the rank t before, and hands its own to the rank t after. They come straight
    from who owns them, and those that nobody needs stay where they are.

    Args:
        group: a process group; None: all processes.
        sources, targets: for each step, whether this rank needs what the rank so many before it has, and whether the
            rank so many after it needs what this one has. All ranks agree on who needs what.
    """

    def __init__(
        self, group: dist.ProcessGroup | None, sources: Sequence[bool] = (), targets: Sequence[bool] = ()
    ) -> None:
        self.group = dist.group.WORLD if group is None else group
        self.rank, self.ranks = dist.get_rank(self.group), dist.get_world_size(self.group)
        self.sources, self.targets = sources, targets

    def before(self, step: int) -> int:
        """The rank so many steps before this one."""
        return (self.rank - step) % self.ranks

    def after(self, step: int) -> int:
        """The rank so many steps after this one."""
        return (self.rank + step) % self.ranks

    def blocks(self, own: tuple[Tensor, ...], lengths: Sequence[int]) -> Iterator[tuple[Tensor, ...] | None]:
        """For each step the tensors of the rank so many before, or None where they are not needed.

        Those of the next step travel while a step is worked on.

        Args:
            own: this rank's, `(batch, heads, length, width)`; other ranks' differ in the length alone.
            lengths: of each rank.
        """
        own = tuple(tensor.contiguous() for tensor in own)
        current: tuple[Tensor, ...] | None = own if self.sources[0] else None
        for step in range(1, self.ranks + 1):
            coming, works = self._begin(own, step, lengths)
            yield current
            for work in works:
                work.wait()
            current = coming

    def _begin(
        self, own: tuple[Tensor, ...], step: int, lengths: Sequence[int]
    ) -> tuple[tuple[Tensor, ...] | None, list[dist.Work]]:
        """Sends and receives what belongs to a step: what is coming, and the works to wait for."""
        if step >= self.ranks:
            return None, []
        found = None
        if self.sources[step]:
            length = lengths[self.before(step)]
            found = tuple(tensor.new_empty(*tensor.shape[:2], length, tensor.shape[3]) for tensor in own)
        sent = own if self.targets[step] else ()
        return found, self._exchange(sent, self.after(step), found or (), self.before(step), FORTH)

    def returned(self, step: int, made: tuple[Tensor, ...] | None, own: tuple[Tensor, ...]) -> "Returned":
        """Sends what was made of a step's tensors to their owner, and receives what was made of this rank's own.

        Args:
            step: of which.
            made: of the tensors of the rank so many before; None where they were not needed.
            own: like what the rank so many after makes of this one's, in shape and dtype.
        """
        found = tuple(torch.empty_like(tensor) for tensor in own) if self.targets[step] else ()
        made = tuple(tensor.contiguous() for tensor in made or ())
        return Returned(found, made, self._exchange(made, self.before(step), found, self.after(step), BACK))

    def _exchange(
        self, sent: Sequence[Tensor], to: int, received: Sequence[Tensor], source: int, tag: int
    ) -> list[dist.Work]:
        ops = [dist.P2POp(dist.isend, t, group=self.group, group_peer=to, tag=tag) for t in sent if t.numel()]
        ops += [dist.P2POp(dist.irecv, t, group=self.group, group_peer=source, tag=tag) for t in received if t.numel()]
        return dist.batch_isend_irecv(ops) if ops else []


class Returned:
    """What comes back from another rank, once it has."""

    def __init__(self, found: tuple[Tensor, ...], sent: tuple[Tensor, ...], works: list[dist.Work]) -> None:
        self.found, self.sent, self.works = found, sent, works  # what is sent is kept until it is

    def add_to(self, own: tuple[Tensor, ...]) -> None:
        """Adds it to this rank's own, in place."""
        for work in self.works:
            work.wait()
        for total, more in zip(own, self.found, strict=True) if self.found else ():
            total += more
