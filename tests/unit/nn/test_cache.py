"""Laws of the key-value cache: it holds what was appended, in order, whatever its room."""

import pytest
import torch

from regard.nn import KeyValueCache

ROWS, HEADS, WIDTH, VALUE_WIDTH = 3, 2, 5, 7


def pieces(*lengths: int):
    """Keys and values of these lengths."""
    return [
        (torch.randn(ROWS, HEADS, length, WIDTH), torch.randn(ROWS, HEADS, length, VALUE_WIDTH)) for length in lengths
    ]


@pytest.mark.parametrize("lengths", [[1] * 11, [4, 1, 1, 5], [13], [1, 12]])
def test_it_holds_what_was_appended(lengths):
    cache, given = KeyValueCache(), pieces(*lengths)
    for count, (key, value) in enumerate(given, start=1):
        cache.append(key, value)
        assert cache.length == sum(lengths[:count])
        assert torch.equal(cache.key, torch.cat([key for key, _ in given[:count]], 2))
        assert torch.equal(cache.value, torch.cat([value for _, value in given[:count]], 2))


def test_room_is_doubled_so_that_a_step_rarely_copies():
    cache, places = KeyValueCache(), set()
    for key, value in pieces(*[1] * 64):
        cache.append(key, value)
        places.add((cache.key.untyped_storage().data_ptr(), cache.key.untyped_storage().nbytes()))
    assert len({size for _, size in places}) == 7  # 1, 2, 4, ... 64 keys


def test_what_is_appended_later_does_not_reach_the_past():
    cache, given = KeyValueCache(), pieces(3, 1, 1)
    cache.append(*given[0])
    first = cache.key
    for key, value in given[1:]:
        cache.append(key, value)
    assert torch.equal(first, given[0][0])


@pytest.mark.parametrize("rows", [[0, 1, 2], [2, 0], [1, 1, 0, 1, 2], []])
def test_rows_are_kept_dropped_reordered_and_repeated(rows):
    cache, given = KeyValueCache(), pieces(3, 1, 2)
    for key, value in given[:2]:
        cache.append(key, value)
    chosen = torch.tensor(rows, dtype=torch.int64)
    cache.select(chosen)
    cache.append(given[2][0][chosen], given[2][1][chosen])
    assert torch.equal(cache.key, torch.cat([key for key, _ in given], 2)[chosen])
    assert torch.equal(cache.value, torch.cat([value for _, value in given], 2)[chosen])


def test_an_empty_cache_has_nothing_to_give():
    cache = KeyValueCache()
    cache.select(torch.tensor([1, 0]))  # rows of nothing
    assert cache.length == 0
    for name in ("key", "value"):
        with pytest.raises(ValueError, match="the cache is empty: append keys and values first"):
            getattr(cache, name)
