"""Laws of `decode`: it is `attend` over the keys that a row has, wherever they lie."""

import re

import pytest
import torch
from torch import Tensor

import regard
from regard.attention.decode import _attended
from regard.ops.random import draw_seed

KINDS = [(torch.float32, 2e-6), (torch.bfloat16, 8e-3)]
LENGTHS = [37, 3, 150, 64]


def close(found: Tensor, expected: Tensor, error: float) -> None:
    assert found.dtype == expected.dtype
    torch.testing.assert_close(found, expected, atol=error, rtol=error)


def cache(dtype=torch.float32, heads=6, kv_heads=2, queries=3, room=170, width=24, value_width=16, lengths=LENGTHS):
    """Query, key, value and lengths; what lies beyond the lengths is NaN."""
    rows = len(lengths)
    query, key, value = (
        torch.randn(rows, count, length, size).to(dtype)
        for count, length, size in ((heads, queries, width), (kv_heads, room, width), (kv_heads, room, value_width))
    )
    for row, length in enumerate(lengths):
        key[row, :, length:] = value[row, :, length:] = torch.nan
    return query, key, value, torch.tensor(lengths)


def paged(key: Tensor, value: Tensor, lengths: Tensor, size: int, integers: torch.dtype = torch.int32):
    """The same in pages of that size, in any order; entries and pages that nobody uses are nonsense and NaN."""
    rows, kv_heads = key.shape[:2]
    most = -(-key.shape[2] // size)
    count = rows * most + 5
    table = torch.full((rows, most), -1, dtype=integers)
    pools = [
        torch.full((count, kv_heads, size, tensor.shape[3]), torch.nan, dtype=key.dtype) for tensor in (key, value)
    ]
    free = iter(torch.randperm(count).tolist())
    for row, length in enumerate(lengths.tolist()):
        for number in range(-(-length // size)):
            page, part = next(free), slice(number * size, min(length, (number + 1) * size))
            table[row, number] = page
            for pool, tensor in zip(pools, (key, value), strict=True):
                pool[page, :, : part.stop - part.start] = tensor[row, :, part]
    return *pools, table


def alone(query: Tensor, key: Tensor, value: Tensor, lengths: Tensor) -> Tensor:
    """Each row by itself, by the oracle in float64."""
    rows = []
    for row, length in enumerate(lengths.tolist()):
        tensors = query[row, None].double(), key[row, None, :, :length].double(), value[row, None, :, :length].double()
        offset = length - query.shape[2]
        rows.append(regard.attend(*tensors, mask=regard.Causal(), offset=offset, backend="reference"))
    return torch.cat(rows).to(query.dtype)


def test_by_hand() -> None:
    """Two keys, of which the first query sees one: weights (1), and (1/4, 3/4)."""
    query = torch.tensor([0.0, torch.tensor(3.0).log()]).view(1, 1, 2, 1)
    key, value = torch.tensor([0.0, 1.0, 9.0]).view(1, 1, 3, 1), torch.tensor([4.0, 8.0, torch.nan]).view(1, 1, 3, 1)
    found = regard.decode(query, key, value, lengths=[2], scale=1.0)
    close(found.flatten(), torch.tensor([4.0, 7.0]), 1e-6)


@pytest.mark.parametrize(("dtype", "error"), KINDS)
@pytest.mark.parametrize(("queries", "heads", "kv_heads"), [(1, 2, 2), (1, 8, 2), (3, 3, 1), (2, 7, 7), (11, 4, 2)])
@pytest.mark.parametrize(("width", "value_width"), [(64, 64), (13, 5)])
def test_a_batch_is_each_row_alone(dtype, error, queries, heads, kv_heads, width, value_width) -> None:
    lengths = [max(length, queries) for length in LENGTHS]
    query, key, value, counts = cache(dtype, heads, kv_heads, queries, 170, width, value_width, lengths)
    found = regard.decode(query, key, value, lengths=counts)
    close(found, alone(query, key, value, counts), error)
    close(found, _attended(query, key, value, counts, None, width**-0.5), error)


@pytest.mark.parametrize(("dtype", "error"), KINDS)
@pytest.mark.parametrize("size", [1, 7, 16, 64])
@pytest.mark.parametrize("integers", [torch.int32, torch.int64])
@pytest.mark.parametrize("width", [16, 9])
def test_pages_hold_what_a_cache_holds(dtype, error, size, integers, width) -> None:
    query, key, value, lengths = cache(dtype, width=width)
    pages, value_pages, table = paged(key, value, lengths, size, integers)
    found = regard.decode(query, pages, value_pages, lengths=lengths, table=table)
    close(found, regard.decode(query, key, value, lengths=lengths), error)
    close(found, alone(query, key, value, lengths), error)
    close(found, _attended(query, pages, value_pages, lengths, table, width**-0.5), error)


def test_the_order_of_pages_changes_nothing() -> None:
    query, key, value, lengths = cache()
    one, other = (
        regard.decode(query, pages, value_pages, lengths=lengths, table=table)
        for pages, value_pages, table in (paged(key, value, lengths, 16) for _ in range(2))
    )
    assert torch.equal(one, other)


def test_rows_may_share_pages() -> None:
    """A prompt that many rows begin with is kept once."""
    pages, value_pages = torch.randn(2, 5, 2, 8, 16)
    query, table = torch.randn(3, 4, 1, 16), torch.tensor([[4, 0], [4, 1], [4, 2]])
    found = regard.decode(query, pages, value_pages, lengths=[9, 12, 16], table=table)
    for row, length in enumerate([9, 12, 16]):
        key, value = (tensor[table[row]].transpose(0, 1).flatten(1, 2)[None] for tensor in (pages, value_pages))
        expected = regard.decode(query[row, None], key, value, lengths=[length])
        close(found[row, None], expected, 2e-6)


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_keys_split_among_threads_are_the_same_keys(threads: int) -> None:
    query, key, value, lengths = cache(room=3000, lengths=[3000, 1700])
    whole, before = regard.decode(query, key, value, lengths=lengths), torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = [regard.decode(query, key, value, lengths=lengths) for _ in range(2)]
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*parts)
    close(parts[0], whole, 2e-6)


def test_without_lengths_all_the_room_is_used() -> None:
    query, key, value, _ = cache(lengths=[40, 40], room=40)
    expected = regard.decode(query, key, value, lengths=[40, 40])
    assert torch.equal(regard.decode(query, key, value), expected)
    last = regard.decode(query[:, :, -1:], key, value)
    close(last, expected[:, :, -1:], 2e-6)


def test_any_strides() -> None:
    query, key, value, lengths = cache(room=170, width=16)
    expected = regard.decode(query, key, value, lengths=lengths)
    turned = [tensor.mT.contiguous().mT for tensor in (query, key, value)]
    close(regard.decode(*turned, lengths=lengths), expected, 2e-6)
    apart = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (query, key, value)]
    assert torch.equal(regard.decode(*apart, lengths=lengths), expected)
    pages, value_pages, table = paged(key, value, lengths, 16)
    apart = [tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (pages, value_pages)]
    found = regard.decode(query, *apart, lengths=lengths, table=table.T.contiguous().T)
    close(found, expected, 2e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_dtypes_go_through_attend(dtype: torch.dtype) -> None:
    query, key, value, lengths = cache(dtype)
    expected = alone(query, key, value, lengths)
    close(regard.decode(query, key, value, lengths=lengths), expected, 1e-3)
    pages, value_pages, table = paged(key, value, lengths, 7)
    close(regard.decode(query, pages, value_pages, lengths=lengths, table=table), expected, 1e-3)


class Layer(torch.nn.Module):
    def forward(self, query: Tensor, key: Tensor, value: Tensor, lengths: Tensor) -> Tensor:
        return regard.decode(query, key, value, lengths=lengths)


def test_a_watched_call_is_recorded() -> None:
    tensors, model = cache(), torch.nn.Sequential()
    model.add_module("layer", Layer())
    with regard.watch(model, regard.Entropy()) as seen:
        found = model.layer(*tensors)
    assert len(seen.calls("layer")) == 1
    close(found, model.layer(*tensors), 2e-6)


def test_no_random_number_is_drawn() -> None:
    query, key, value, lengths = cache()
    torch.manual_seed(3)
    expected = draw_seed()
    torch.manual_seed(3)
    regard.decode(query, key, value, lengths=lengths)
    assert draw_seed() == expected


# Words


def refuses(error: type[Exception], text: str, *tensors: object, **options: object) -> None:
    with pytest.raises(error, match=re.escape(text)):
        regard.decode(*tensors, **options)


@pytest.mark.usefixtures("unchecked")
def test_what_it_says_to_tensors() -> None:
    query, key, value, lengths = cache()
    pages, value_pages, table = paged(key, value, lengths, 16)
    refuses(TypeError, "query must be a tensor, got list", [1.0], key, value)
    refuses(ValueError, "key must have 4 dimensions, (batch, heads, length, width), got shape", query, key[0], value)
    refuses(TypeError, "cast the query as the cache is: query.to(key.dtype)", query.bfloat16(), key, value)
    refuses(TypeError, "value must be floating-point, got torch.int64", query, key, value.long())
    refuses(ValueError, "each key needs one value", query, key, value[:, :, 1:])
    refuses(ValueError, "query and key must agree in head_dim", query[..., 1:], key, value)
    refuses(ValueError, "got 5 heads and 2 kv_heads", query[:, 1:], key, value)
    refuses(ValueError, "say whose they are: table=table, lengths=lengths", query, pages, value_pages)
    refuses(TypeError, "an int32 or int64 tensor, got torch.float32", query, pages, value_pages, table=table.float())
    refuses(TypeError, "an int32 or int64 tensor, got list", query, pages, value_pages, table=table.tolist())
    refuses(
        ValueError, "a row for each of the 4 batch rows, got shape (3, 11)", query, pages, value_pages, table=table[1:]
    )
    text = "regard.attend(query, key, value, mask=regard.Causal(), offset=key.shape[2] - query.shape[2])"
    refuses(ValueError, text, query.requires_grad_(), key, value)
    with torch.no_grad():
        regard.decode(query, key, value, lengths=lengths)


@pytest.mark.usefixtures("unchecked")
def test_what_it_says_to_lengths_and_pages() -> None:
    query, key, value, lengths = cache()
    pages, value_pages, table = paged(key, value, lengths, 16)
    refuses(ValueError, "pass lengths, (batch,)", query, pages, value_pages, table=table)
    refuses(TypeError, "integers, got torch.float32; lengths.long()", query, key, value, lengths=lengths.float())
    refuses(ValueError, "lengths must be (batch,) = (4,), got shape (3,)", query, key, value, lengths=[9, 9, 9])
    refuses(
        ValueError, "lengths has 171, but the cache has room for 170 keys a row", query, key, value, lengths=[171] * 4
    )
    text = "lengths has 177, but the table has room for 176 keys a row (11 pages of 16)"
    refuses(ValueError, text, query, pages, value_pages, lengths=[177] * 4, table=table)
    refuses(ValueError, "lengths counts the 3 new keys too", query, key, value, lengths=[9, 2, 9, 9])
    refuses(ValueError, "append them first, or pass fewer queries", query, key[:, :, :2], value[:, :, :2])
    for wrong in (-1, len(pages)):
        table[2, 5] = wrong
        text = (
            f"table[2, 5] is {wrong}, but there are the pages 0 to {len(pages) - 1}: row 2 has 150 keys, "
            "and so uses 10 pages of 16"
        )
        refuses(ValueError, text, query, pages, value_pages, lengths=lengths, table=table)
        refuses(ValueError, text, query.double(), pages.double(), value_pages.double(), lengths=lengths, table=table)
