"""The greatest numbers of rows, and the log-sum-exp of rows, as a search asks for them: no row is sorted or copied."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.ops.native import module, runs


def log_sum_exp(values: Float[Tensor, "rows columns"]) -> Float[Tensor, " rows"]:
    """`ln sum_j exp(values[i, j])`; NaN where a number is NaN or +inf."""
    if not _on_kernels(values):
        found = values.logsumexp(-1)
        return torch.where(found == torch.inf, torch.nan, found)
    found = torch.empty(len(values))
    _rank(values, found, 0, None, None)
    return found


def greatest(
    values: Float[Tensor, "rows columns"], count: int
) -> tuple[Float[Tensor, "rows {count}"], Int[Tensor, "rows {count}"]]:
    """The `count` greatest numbers of each row, the greatest first, and their places; of equal ones the lower first.

    Of a row that has a NaN the first is NaN.
    """
    if not _on_kernels(values):
        return _sorted(values, count)
    best, places = torch.empty(len(values), count), torch.empty(len(values), count, dtype=torch.int64)
    _rank(values, None, count, best, places)
    return best, places


def _on_kernels(values: Tensor) -> bool:
    return values.dtype == torch.float32 and values.is_contiguous() and not values.requires_grad and runs(values)


def _rank(values: Tensor, sums: Tensor | None, count: int, best: Tensor | None, places: Tensor | None) -> None:
    module().ranking(
        torch.get_num_threads(),
        *values.shape,
        values.data_ptr(),
        0 if sums is None else sums.data_ptr(),
        count,
        0 if best is None else best.data_ptr(),
        0 if places is None else places.data_ptr(),
    )


def _sorted(values: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The same by torch, whose `topk` leaves the choice among equal numbers open.

    It is asked for one more than wanted: only in a row where that one equals the last wanted is the choice settled by a
    stable sort of the whole row.
    """
    found, places = values.topk(min(count + 1, values.shape[-1]))
    # Equal numbers that were all found: put them in order.
    places, order = places[:, :count].sort(dim=-1)
    best, order = found.gather(-1, order).sort(dim=-1, descending=True, stable=True)
    places = places.gather(-1, order)
    if count and found.shape[-1] > count:
        open_rows = ((found[:, count - 1] == found[:, -1]) & (found[:, -1] > -torch.inf)).nonzero()[:, 0]
        if len(open_rows):
            _, settled = values[open_rows].sort(dim=-1, descending=True, stable=True)
            places[open_rows] = settled[:, :count]
    return best, places
