"""Layouts: every position is held once."""

import pytest
import torch

from regard.distributed import Contiguous, Layout, ZigZag, attend


@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
@pytest.mark.parametrize("length", [0, 1, 7, 30, 31])
@pytest.mark.parametrize("kind", [Contiguous, ZigZag])
def test_every_position_is_held_once(kind: type[Layout], length: int, ranks: int) -> None:
    layout = kind(length)
    held = [layout.ranges(rank, ranks) for rank in range(ranks)]
    for ranges in held:
        assert list(ranges) == sorted(ranges)
        assert all(low < high for low, high in ranges)
    positions = [position for ranges in held for low, high in ranges for position in range(low, high)]
    assert sorted(positions) == list(range(length))
    sizes = [layout.size(rank, ranks) for rank in range(ranks)]
    assert sizes == [sum(high - low for low, high in ranges) for ranges in held]
    assert max(sizes) - min(sizes) <= (1 if kind is Contiguous else 2)


def test_by_hand() -> None:
    assert [Contiguous(10).ranges(rank, 4) for rank in range(4)] == [((0, 3),), ((3, 6),), ((6, 8),), ((8, 10),)]
    assert [ZigZag(8).ranges(rank, 2) for rank in range(2)] == [((0, 2), (6, 8)), ((2, 6),)]
    assert [Contiguous(5, (2, 0, 3)).ranges(rank, 3) for rank in range(3)] == [((0, 2),), (), ((2, 5),)]


@pytest.mark.parametrize("length", [64, 65, 127])
def test_a_zigzag_has_the_pairs_of_a_causal_mask_in_equal_shares(length: int) -> None:
    ranks, whole = 4, length * (length + 1) / 2
    for rank in range(ranks):
        pairs = sum(position + 1 for low, high in ZigZag(length).ranges(rank, ranks) for position in range(low, high))
        assert abs(pairs / whole - 1 / ranks) < 2 / length


def test_what_does_not_fit() -> None:
    with pytest.raises(ValueError, match=r"Contiguous needs a length >= 0, got -1"):
        Contiguous(-1)
    with pytest.raises(ValueError, match=r"sizes \(2, 2\), which do not add up to its length, 5"):
        Contiguous(5, (2, 2))


def test_without_a_group_one_is_told_how_to_get_one() -> None:
    with pytest.raises(ValueError, match=r"there is no process group: start the processes with torchrun and call"):
        attend(*(torch.zeros(1, 1, 3, 2) for _ in range(3)))
