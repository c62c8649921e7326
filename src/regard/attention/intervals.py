"""Sets of keys as disjoint half-open intervals, and their algebra.

A set is an integer tensor `(..., m, 2)`: m intervals `[low, high)` in rising order, disjoint, the empty ones
last as `[keys, keys)`. Complement and intersection are exact and vectorised over all leading dimensions;
union follows by De Morgan, which also joins intervals that touch.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor


def tidy(bounds: Int[Tensor, "*rows m 2"], keys: int, most: int | None = None) -> Int[Tensor, "*rows n 2"]:
    """Clamp to `[0, keys)`, move empty intervals to the end and drop the columns that are empty everywhere.

    In a graph, which cannot ask how many those are, `most` columns stay: as many as can hold something.
    """
    bounds = bounds.clamp(0, keys)
    low, high = bounds.unbind(-1)
    empty = low >= high
    low = low.masked_fill(empty, keys)
    high = high.masked_fill(empty, keys)
    if low.shape[-1] > 1:
        low, order = low.sort(dim=-1, stable=True)
        high = high.gather(-1, order)
        if not torch.compiler.is_compiling():
            most = max(int((low < high).sum(-1).max()) if low.numel() else 0, 1)
        low, high = low[..., :most], high[..., :most]
    return torch.stack((low, high), -1)


def complement(bounds: Int[Tensor, "*rows m 2"], keys: int) -> Int[Tensor, "*rows n 2"]:
    """The keys outside every interval: the gaps between them."""
    low, high = bounds.unbind(-1)
    first = low.new_zeros(*low.shape[:-1], 1)
    return tidy(torch.stack((torch.cat((first, high), -1), torch.cat((low, first + keys), -1)), -1), keys)


def intersect(left: Int[Tensor, "*rows m 2"], right: Int[Tensor, "*others n 2"], keys: int) -> Int[Tensor, "*both p 2"]:
    """The keys in both sets: what pairs of intervals share, of m and n at most m + n - 1."""
    low = torch.maximum(left[..., :, None, 0], right[..., None, :, 0])
    high = torch.minimum(left[..., :, None, 1], right[..., None, :, 1])
    return tidy(torch.stack((low.flatten(-2), high.flatten(-2)), -1), keys, left.shape[-2] + right.shape[-2] - 1)


def union(left: Int[Tensor, "*rows m 2"], right: Int[Tensor, "*others n 2"], keys: int) -> Int[Tensor, "*both p 2"]:
    """The keys in either set, by De Morgan's law; of m and n intervals come at most m + n."""
    found = complement(intersect(complement(left, keys), complement(right, keys), keys), keys)
    return found[..., : left.shape[-2] + right.shape[-2], :]


def contains(bounds: Int[Tensor, "*rows m 2"], keys: int) -> Bool[Tensor, "*rows keys"]:
    """Whether each key lies in the set."""
    index = torch.arange(keys, device=bounds.device)
    inside = (index >= bounds[..., 0, None]) & (index < bounds[..., 1, None])
    return inside.any(-2)
