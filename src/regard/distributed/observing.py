"""What is recorded of a call that is spread over ranks, put together of what its blocks saw.

What speaks of a query stays where the query is; `Received` is where the key is.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from regard.attention.observations import (
    Entropy,
    LogSumExp,
    Mass,
    MaxScore,
    Observation,
    Received,
    TopK,
    TopKeys,
    Total,
)
from regard.attention.place import Ranges
from regard.attention.seen import Seen
from regard.attention.terms import Bias
from regard.distributed.blocks import Outcome
from regard.distributed.spread import Spread

Result = Tensor | TopKeys


@dataclass(eq=False)
class Merging:
    """The results so far, of each range of queries; told of each block before it is merged."""

    record: dict[str, Observation]  # what was asked for
    parts: list[dict[str, Result]] = field(default_factory=list)

    def __call__(self, number: int, keys: tuple[int, int], so_far: Outcome, block: Outcome, seen: Seen) -> None:
        whole = torch.logaddexp(so_far.logsumexp, block.logsumexp)
        before, here = so_far.share(whole), block.share(whole)
        found = self.parts[number]
        for name, item in self.record.items():
            if isinstance(item, Received | LogSumExp):
                continue  # known when all is merged
            old, new = found[name], seen[name]
            if isinstance(item, TopK):
                assert isinstance(old, TopKeys)
                assert isinstance(new, TopKeys)
                found[name] = _strongest(old, before, _counted(new, keys[0]), here, item.k)
            elif isinstance(item, MaxScore):
                found[name] = torch.maximum(_tensor(old), _tensor(new))
            else:
                mean = before * _tensor(old) + here * _tensor(new)
                if isinstance(item, Entropy):  # of which part, and within it which key
                    mean = mean - torch.xlogy(before, before) - torch.xlogy(here, here)
                found[name] = mean

    def joined(self, sink: Tensor | None, logsumexp: Tensor) -> dict[str, Result]:
        """The results for all of this rank's queries; of the weights as a sink leaves them, whose share is given."""
        found: dict[str, Result] = {}
        for name, item in self.record.items():
            if isinstance(item, Received):
                continue
            if isinstance(item, LogSumExp):
                found[name] = logsumexp.float()
                continue
            pieces = [part[name] for part in self.parts]
            if isinstance(item, TopK):
                tops = [piece for piece in pieces if isinstance(piece, TopKeys)]
                keys, weights = (torch.cat([getattr(top, what) for top in tops], 2) for what in ("keys", "weights"))
                found[name] = TopKeys(keys, weights if sink is None else weights * sink.unsqueeze(-1))
                continue
            whole = torch.cat([_tensor(piece) for piece in pieces], 2)
            if sink is not None and isinstance(item, Entropy):
                whole = sink * whole - torch.xlogy(sink, sink) * (logsumexp > -torch.inf)
            elif sink is not None and isinstance(item, Total | Mass):
                whole = sink * whole
            found[name] = whole
        return found


def merging(record: dict[str, Observation], query: Tensor, ranges: Ranges) -> Merging:
    """The results before any key was seen."""
    parts: list[dict[str, Result]] = []
    for low, high in ranges or ((0, 0),):
        shape = (*query.shape[:2], high - low)
        start: dict[str, Result] = {}
        for name, item in record.items():
            if isinstance(item, TopK):
                keys = query.new_full((*shape, item.k), -1, dtype=torch.int64)
                start[name] = TopKeys(keys, query.new_zeros(*shape, item.k, dtype=torch.float32))
            else:
                empty = -torch.inf if isinstance(item, MaxScore) else 0.0
                start[name] = query.new_full(shape, empty, dtype=torch.float32)
        parts.append(start)
    return Merging(record, parts)


def received(spread: Spread, query: Tensor, key: Tensor, logsumexp: Tensor, sink: Tensor | None) -> Tensor:
    """The attention that each of this rank's keys received, from all ranks' queries, `(batch, heads, keys)`.

    The weight of a key is what a bias of its own does to the log-sum-exp: the column sums are a gradient.
    """
    spread = replace(spread, record={})
    totals = key.new_zeros(key.shape[0], query.shape[1], key.shape[2], dtype=torch.float32)
    for step, block in enumerate(spread.ring.blocks((key,), spread.arrangement.lengths)):
        made = None
        if block is not None:
            others = block[0]
            made = totals.new_zeros(*totals.shape[:2], others.shape[2])
            values = others.new_zeros(*others.shape[:3], 1)
            for located in spread.blocks(step, query, others, values):
                rows, columns = located.rows, located.columns
                bias = totals.new_zeros(*totals.shape[:2], 1, columns.stop - columns.start).requires_grad_()
                outcome = located.block.biased(Bias(bias))
                share = outcome.share(logsumexp[:, :, rows]).detach()
                share = share if sink is None else share * sink[:, :, rows]
                (found,) = torch.autograd.grad(outcome.logsumexp, bias, share)
                made[:, :, columns] += found[:, :, 0]
        if step == 0:
            totals += made if made is not None else 0.0
        else:
            spread.ring.returned(step, None if made is None else (made,), (totals,)).add_to((totals,))
    return totals


def _tensor(result: Result) -> Tensor:
    assert isinstance(result, Tensor)
    return result


def _counted(top: TopKeys, first: int) -> TopKeys:
    """The keys of a block as the whole sequence counts them."""
    return TopKeys(torch.where(top.keys < 0, top.keys, top.keys + first), top.weights)


def _strongest(old: TopKeys, before: Tensor, new: TopKeys, here: Tensor, k: int) -> TopKeys:
    """The k strongest of both, ties to the lower key; missing ones last."""
    keys = torch.cat((old.keys, new.keys), -1)
    weights = torch.cat((old.weights * before.unsqueeze(-1), new.weights * here.unsqueeze(-1)), -1)
    keys, order = keys.sort(dim=-1, stable=True)
    weights = weights.gather(-1, order).masked_fill(keys < 0, -1.0)
    weights, order = weights.sort(dim=-1, descending=True, stable=True)
    return TopKeys(keys.gather(-1, order)[..., :k], weights[..., :k].clamp_min(0.0))
