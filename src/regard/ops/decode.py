"""Softmax attention over caches of keys and values by the native kernels: forward alone, from pages too."""

import torch
from torch import Tensor

from regard.ops.attention import constants, forward_pass, where
from regard.ops.native import module


def cached_attention(query: Tensor, key: Tensor, value: Tensor, bounds: Tensor | None, scale: float) -> Tensor:
    """`softmax(scale * query key') value` over the keys that `bounds` allow, in float32.

    Args:
        query, key, value, bounds, scale: as for `ops.attention.attention_and_logsumexp`.

    Returns:
        `(batch, heads, queries, value_width)`.
    """
    context, _ = forward_pass(query, key, value, constants(query, key, value, bounds, scale, 0.0, 0), keep=False)
    return context


def paged_attention(
    query: Tensor, key: Tensor, value: Tensor, table: Tensor, bounds: Tensor | None, scale: float
) -> Tensor:
    """`cached_attention` where key j of batch row b is key `j % page_size` of page `table[b, j // page_size]`.

    Args:
        key: `(pages, kv_heads, page_size, width)`.
        value: `(pages, kv_heads, page_size, value_width)`.
        table: `(batch, most_pages)`, int32 or int64. What `bounds` allow nobody to see is not read, entries included.

    Raises:
        IndexError: for an entry that is no page.
    """
    pages, kv_heads, page_size, width = key.shape
    batch, heads, queries, _ = query.shape
    sizes = (batch, heads, kv_heads, queries, table.shape[1] * page_size, width, value.shape[3])
    *first, _, intervals = constants(query, key, value, bounds, scale, 0.0, 0)
    context = torch.empty(batch, queries, heads, value.shape[3], dtype=torch.float32, device="cpu").transpose(1, 2)
    module().decode(
        torch.get_num_threads(),
        (*first, sizes, intervals),
        where(query),
        where(key),
        where(value),
        0,
        None,
        where(context),
        0,
        (*where(table), pages, page_size, table.dtype == torch.int64),
    )
    return context
