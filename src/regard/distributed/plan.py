"""How a call would be spread over ranks: who needs whose keys, how much travels, how even the work is."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from regard.attention.call import recording
from regard.attention.masks import Mask
from regard.attention.normalizers import Normalizer
from regard.attention.place import Ranges
from regard.attention.scores import Score
from regard.attention.seen import Record, named
from regard.distributed.arrangement import Arrangement
from regard.distributed.blocks import computed
from regard.distributed.layouts import Layout
from regard.distributed.ranks import Group, Ranks
from regard.distributed.setting import Options, Setting
from regard.distributed.splitting import unsplit


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a call would be spread over ranks: see `plan`."""

    rank: int
    ranks: int
    queries: Ranges  # of this rank
    keys: Ranges
    sources: tuple[int, ...]  # the ranks whose keys come here, in the order in which they come
    received: int  # bytes that come here in a forward pass; a backward pass has them once more
    returned: int  # bytes that come back here in a backward pass
    work: tuple[float, ...]  # each rank's share of the pairs that are allowed
    backends: tuple[str, ...]  # that compute the blocks
    problems: tuple[str, ...]  # why it cannot be split; empty: it can

    def __str__(self) -> str:
        if self.problems:
            return "\n".join(f"cannot be split: {problem}" for problem in self.problems)
        others = f"ranks {', '.join(map(str, self.sources))}" if self.sources else "no other rank"
        shares = ", ".join(f"{share:.1%}" for share in self.work)
        return "\n".join(
            (
                f"rank {self.rank} of {self.ranks}: queries {_text(self.queries)}; keys {_text(self.keys)}",
                f"keys come from {others}: {self.received:,} bytes forward, {self.received:,} backward, and "
                f"{self.returned:,} of gradients come back",
                f"work: {shares} of the pairs",
                f"backend: {', '.join(self.backends) or 'none, there is nothing to compute'}",
            )
        )


def plan(
    query: Float[Tensor, "batch heads queries query_dim"],
    key: Float[Tensor, "batch kv_heads keys key_dim"],
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    *,
    group: Group = None,
    layout: Layout | None = None,
    key_layout: Layout | None = None,
    score: Score | None = None,
    normalize: Normalizer | None = None,
    mask: Mask | None = None,
    offset: int | Int[Tensor, " batch"] = 0,
    dropout: float = 0.0,
    backend: str = "auto",
    record: Record = (),
) -> Plan:
    """How `attend` or `observe` of this module would run these arguments, on this rank.

    What stands in the way of splitting a call is named, each with what to do about it, and nothing is computed but the
    mask's intervals. Arguments are those of `observe`; errors too, but for what cannot be split.
    """
    ranks = Ranks.of(group, layout, key_layout, query, key)
    setting = Setting(ranks, Options(score, normalize, mask, offset, dropout, backend))
    call = setting.call(query, key, value)
    arrangement = setting.arrangement(call)
    wanted = recording(call.normalize, arrangement.place, named(record))
    problems = unsplit(setting.score(), call.normalize, mask, arrangement.place, wanted.values())
    held = (ranks.queries.ranges(ranks.rank, ranks.count), ranks.keys.ranges(ranks.rank, ranks.count))
    if problems:
        return Plan(
            rank=ranks.rank,
            ranks=ranks.count,
            queries=held[0],
            keys=held[1],
            sources=(),
            received=0,
            returned=0,
            work=(),
            backends=(),
            problems=tuple(problems),
        )
    spread = setting.spread(call, named(record))
    ring, batch = spread.ring, call.key.shape[0]
    numbers = batch * (
        call.key.shape[1] * call.key.shape[3] + call.value.shape[1] * call.value.shape[3]
    )  # a position's
    comes = [ring.before(step) for step in range(1, ranks.count) if ring.sources[step]]
    back = sum(ring.targets[1:]) * ranks.keys.size(ranks.rank, ranks.count)
    backends: set[str] = set()
    nothing = call.key.new_zeros(1, dtype=computed(call.key.dtype))  # in place of what others hold
    for step in range(ranks.count):
        length = arrangement.lengths[ring.before(step)]
        key, value = (nothing.expand(*tensor.shape[:2], length, tensor.shape[3]) for tensor in (call.key, call.value))
        backends |= {located.block.backend for located in spread.blocks(step, call.query, key, value)}
    return Plan(
        rank=ranks.rank,
        ranks=ranks.count,
        queries=held[0],
        keys=held[1],
        sources=tuple(comes),
        received=sum(arrangement.lengths[source] for source in comes) * numbers * call.key.element_size(),
        returned=back * numbers * computed(call.key.dtype).itemsize,
        work=_work(arrangement),
        backends=tuple(sorted(backends)),
        problems=(),
    )


def _work(arrangement: Arrangement) -> tuple[float, ...]:
    """Each rank's share of the pairs that the mask allows."""
    counts = []
    for rank in range(arrangement.ranks):
        count = 0.0
        for part in arrangement.queries.ranges(rank, arrangement.ranks):
            bounds = arrangement.bounds(part)
            if bounds is None:
                count += (part[1] - part[0]) * arrangement.place.keys
            else:
                allowed = (bounds[..., 1] - bounds[..., 0]).clamp_min(0).sum(-1).double()
                count += float(allowed.mean((0, 1)).sum())
        counts.append(count)
    return tuple(count / max(sum(counts), 1.0) for count in counts)


def _text(ranges: Ranges) -> str:
    return " and ".join(f"{low:,} to {high:,}" for low, high in ranges) or "none"
