"""Laws of the paged cache: rows come and go, and each decodes as if it were alone."""

import pytest
import torch

import regard
from regard.nn import PagedCache

HEADS, KV_HEADS, WIDTH, VALUE_WIDTH = 6, 2, 16, 5


def some(rows: int, new: int):
    return torch.randn(rows, KV_HEADS, new, WIDTH), torch.randn(rows, KV_HEADS, new, VALUE_WIDTH)


@pytest.mark.parametrize("page_size", [1, 4, 7])
def test_rows_come_and_go(page_size: int) -> None:
    cache = PagedCache(120 // page_size, KV_HEADS, WIDTH, VALUE_WIDTH, page_size=page_size)
    cache.key.fill_(torch.nan), cache.value.fill_(torch.nan)
    held: dict[int, list[torch.Tensor]] = {}
    for round_ in range(12):
        row = cache.admit()
        held[row] = list(some(1, 1 + 3 * round_ % 11))
        cache.append([row], *held[row])
        if len(held) > 3:
            gone = sorted(held)[round_ % 3]
            cache.release(gone)
            del held[gone]
        rows = sorted(held, reverse=True)
        key, value = some(len(rows), 1)
        cache.append(rows, key, value)
        query = torch.randn(len(rows), HEADS, 1, WIDTH)
        found = cache.decode(rows, query)
        for number, row in enumerate(rows):
            held[row] = [
                torch.cat((old, new[number, None]), 2) for old, new in zip(held[row], (key, value), strict=True)
            ]
            assert cache.length(row) == held[row][0].shape[2]
            expected = regard.attend(query[number, None], *held[row], backend="reference")
            torch.testing.assert_close(found[number, None], expected, atol=2e-6, rtol=2e-6)
    for row in held:
        cache.release(row)
    assert cache.free == 120 // page_size


def test_several_new_positions_see_themselves_and_the_past() -> None:
    cache = PagedCache(9, KV_HEADS, WIDTH, VALUE_WIDTH, page_size=4)
    row, (key, value), query = cache.admit(), some(1, 14), torch.randn(1, HEADS, 14, WIDTH)
    cache.append([row], key, value)
    expected = regard.attend(query, key, value, mask=regard.Causal())
    torch.testing.assert_close(cache.decode([row], query), expected, atol=2e-6, rtol=2e-6)


def test_a_pool_that_is_full_says_so_and_stays_as_it_is() -> None:
    cache = PagedCache(3, KV_HEADS, WIDTH, VALUE_WIDTH, page_size=4)
    row, other = cache.admit(), cache.admit()
    cache.append([row], *some(1, 9))
    with pytest.raises(
        ValueError, match=r"4 keys a row for 2 rows need 2 more pages of 4, but 0 are free: release rows"
    ):
        cache.append([row, other], *some(2, 4))
    assert (cache.length(row), cache.length(other), cache.free) == (9, 0, 0)
    cache.release(row)
    cache.append([other], *some(1, 12))
    assert cache.free == 0


def test_a_row_that_is_gone_is_no_row() -> None:
    cache = PagedCache(3, KV_HEADS, WIDTH, VALUE_WIDTH)
    row = cache.admit()
    cache.release(row)
    with pytest.raises(ValueError, match=r"the cache has no row 0: row = cache.admit\(\) makes one"):
        cache.append([row], *some(1, 1))
    row = cache.admit()
    with pytest.raises(ValueError, match=r"each row once, got rows \[1, 1\]"):
        cache.append([row, row], *some(2, 1))
