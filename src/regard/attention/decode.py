"""Attention of the newest positions over a cache of keys and values, which may lie in pages."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attention.api import attend
from regard.attention.call import check_each
from regard.attention.masks import Causal
from regard.attention.padding import Lengths
from regard.attention.scores import ScaledDot
from regard.attention.watching import current
from regard.ops.decode import cached_attention, paged_attention
from regard.ops.following import followed
from regard.ops.native import has_kernel

_INTEGERS = (torch.int64, torch.int32)


def decode(
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "places kv_heads room head_dim"],
    value: Float[Tensor, "places kv_heads room value_dim"],
    *,
    lengths: Int[Tensor, " batch"] | list[int] | None = None,
    table: Int[Tensor, "batch most_pages"] | None = None,
    scale: float | None = None,
) -> Float[Tensor, "batch heads queries value_dim"]:
    """Attention of the newest positions over a cache: `context[b, :, i] = softmax(scale * q_i . k_j over j <= p) v_j`.

    The queries are the last positions of their rows, whose keys are in the cache already: query i of batch row b stands
    at key `p = lengths[b] - queries + i`, and sees that key and those before it. What is in the cache beyond
    `lengths[b]` reaches nothing, NaN included. On `native` keys and values are read once for all the heads that share
    them. For inference alone: `attend` has gradients.

    Args:
        query: `(batch, heads, queries, head_dim)`. `heads` is a multiple of `kv_heads`; query head h reads kv head
            `h // (heads / kv_heads)`.
        key: `(batch, kv_heads, room, head_dim)`, or with a `table` pages, `(pages, kv_heads, page_size, head_dim)`.
        value: `(batch, kv_heads, room, value_dim)`, or `(pages, kv_heads, page_size, value_dim)`.
        lengths: how many keys each batch row has, the new ones included; all the room when not given. A `table`
            needs them.
        table: int32 or int64 `(batch, most_pages)`: key j of row b is key `j % page_size` of page
            `table[b, j // page_size]`. Entries beyond a row's length are not read.
        scale: factor of the scores; `1 / sqrt(head_dim)` when not given.

    Returns:
        The context, `(batch, heads, queries, value_dim)`, in the dtype of the inputs.

    Raises:
        TypeError: for arguments of the wrong kind or dtype.
        ValueError: for shapes that do not fit, lengths that the cache has no room for, entries that are no pages, and
            where a gradient is wanted.

    Source: pages, Kwon et al. 2023 (PagedAttention); keys split over threads, Dao et al. 2023 (Flash-Decoding).
    """
    _check_tensors(query, key, value, table)
    counts = _checked_lengths(query, key, lengths, table)
    scale = query.shape[3] ** -0.5 if scale is None else scale
    tensors = (query, key, value) if table is None else (query, key, value, table)
    if (
        not has_kernel(query, key, value)
        or followed(*tensors)
        or current() is not None
        or torch.is_autocast_enabled("cpu")
    ):
        return _attended(query, key, value, counts, table, scale)
    bounds = _bounds(query, key, counts)
    if table is None:
        return cached_attention(query, key, value, bounds, scale).to(query.dtype)
    try:
        return paged_attention(query, key, value, table, bounds, scale).to(query.dtype)
    except IndexError:
        assert counts is not None
        _check_pages(key, table, counts)
        raise


def _bounds(query: Tensor, key: Tensor, counts: Tensor | None) -> Tensor | None:
    """The keys of each query, as the kernels take them; None where they are all."""
    queries = query.shape[2]
    if counts is None and queries == 1:
        return None
    ends = torch.arange(1 - queries, 1) + (key.shape[2] if counts is None else counts.unsqueeze(1))
    bounds = ends.new_zeros(1 if counts is None else len(query), 1, queries, 1, 2)
    bounds[:, 0, :, 0, 1] = ends
    return bounds


def _attended(
    query: Tensor, key: Tensor, value: Tensor, counts: Tensor | None, table: Tensor | None, scale: float
) -> Tensor:
    """The same by `attend`, on whichever backend: the definition."""
    queries, offset = query.shape[2], key.shape[2] - query.shape[2]
    if counts is None:
        return attend(query, key, value, score=ScaledDot(scale), mask=Causal(), offset=offset)
    if table is not None:
        if not torch.compiler.is_compiling():
            _check_pages(key, table, counts)
        used = torch.where(_in_use(key, table, counts), table.long(), 0)
        key, value = (pages[used].transpose(1, 2).flatten(2, 3) for pages in (key, value))
    held = (torch.arange(key.shape[2], device=key.device) < counts.unsqueeze(1))[:, None, :, None]
    key, value = (torch.where(held, tensor, 0.0) for tensor in (key, value))  # not every backend hides a NaN
    return attend(query, key, value, score=ScaledDot(scale), mask=Causal() & Lengths(counts), offset=counts - queries)


def _in_use(key: Tensor, table: Tensor, counts: Tensor) -> Tensor:
    return torch.arange(table.shape[1], device=table.device) * key.shape[2] < counts.unsqueeze(1)


def _check_pages(key: Tensor, table: Tensor, counts: Tensor) -> None:
    wrong = (_in_use(key, table, counts) & ((table < 0) | (table >= len(key)))).nonzero()
    if len(wrong):
        row, column = wrong[0].tolist()
        raise ValueError(
            f"table[{row}, {column}] is {int(table[row, column])}, but there are the pages 0 to {len(key) - 1}: "
            f"row {row} has {int(counts[row])} keys, and so uses {-(-int(counts[row]) // key.shape[2])} pages of "
            f"{key.shape[2]}"
        )


def _check_tensors(query: Tensor, key: Tensor, value: Tensor, table: Tensor | None) -> None:
    check_each(query, key, value)
    names = {"query": query, "key": key, "value": value}
    shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in names.items())
    if not query.dtype == key.dtype == value.dtype:
        raise TypeError(
            f"query, key and value must share a dtype, got {query.dtype}, {key.dtype} and {value.dtype}; "
            "cast the query as the cache is: query.to(key.dtype)"
        )
    if torch.is_grad_enabled() and (query.requires_grad or key.requires_grad or value.requires_grad):
        raise ValueError(
            "decode is for inference and has no gradients: call it under torch.no_grad(), or for gradients "
            "regard.attend(query, key, value, mask=regard.Causal(), offset=key.shape[2] - query.shape[2])"
        )
    if key.shape[:3] != value.shape[:3]:
        raise ValueError(f"each key needs one value: key and value must agree in all but their width, got {shapes}")
    if query.shape[3] != key.shape[3]:
        raise ValueError(f"query and key must agree in head_dim, got {shapes}")
    if key.shape[1] == 0 or query.shape[1] % key.shape[1]:
        raise ValueError(
            "heads must be a multiple of kv_heads (query head h reads kv head h // (heads / kv_heads)), "
            f"got {query.shape[1]} heads and {key.shape[1]} kv_heads: {shapes}"
        )
    if table is None:
        if len(key) != len(query):
            raise ValueError(
                f"query, key and value must have one batch size, got {shapes}; if key and value are pages, "
                "say whose they are: table=table, lengths=lengths"
            )
        return
    if not isinstance(table, Tensor) or table.dtype not in _INTEGERS:
        given = table.dtype if isinstance(table, Tensor) else type(table).__name__
        raise TypeError(
            f"table holds numbers of pages: an int32 or int64 tensor, got {given}; torch.tensor(table).int()"
        )
    if table.ndim != 2 or len(table) != len(query):
        raise ValueError(
            f"table must be (batch, most_pages) with a row for each of the {len(query)} batch rows, "
            f"got shape {tuple(table.shape)}"
        )
    if table.device != query.device:
        raise ValueError(f"query is on {query.device} but table is on {table.device}; move it: table.to(query.device)")


def _checked_lengths(
    query: Tensor, key: Tensor, lengths: Tensor | list[int] | None, table: Tensor | None
) -> Tensor | None:
    """int64, on the query's device; None where every row has all the keys there are."""
    batch, queries, size = len(query), query.shape[2], key.shape[2]
    if lengths is None:
        if table is not None:
            raise ValueError("a table says in which pages keys lie, but not how many there are: pass lengths, (batch,)")
        if size < queries:
            raise ValueError(
                f"the keys of the {queries} queries must be in the cache already, but it has {size} keys: "
                "append them first, or pass fewer queries"
            )
        return None
    counts = torch.as_tensor(lengths, device=query.device)
    if counts.dtype not in _INTEGERS:
        raise TypeError(f"lengths are counts of keys: integers, got {counts.dtype}; lengths.long()")
    if counts.shape != (batch,):
        raise ValueError(f"lengths must be (batch,) = ({batch},), got shape {tuple(counts.shape)}")
    if batch == 0 or torch.compiler.is_compiling():
        return counts.long()
    shortest, longest = (int(edge) for edge in counts.aminmax())
    room, what = (
        (size, "the cache has room for") if table is None else (table.shape[1] * size, "the table has room for")
    )
    if longest > room:
        pages = "" if table is None else f" ({table.shape[1]} pages of {size})"
        raise ValueError(f"lengths has {longest}, but {what} {room} keys a row{pages}")
    if shortest < queries:
        raise ValueError(
            f"lengths counts the {queries} new keys too, those of the queries, but it has {shortest}: "
            "append their keys and values first, and pass lengths + queries"
        )
    return counts.long()
