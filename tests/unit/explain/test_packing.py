from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.explain import unpacking
from tests.unit.explain.looks import long, look, translation, watched, weights

import regard
from regard.explain.archive import LEAST, Archive
from regard.explain.block import COARSE, FINE
from regard.explain.packing import Scale, Singles, planes, text, width
from regard.explain.pooling import averaged, cells, coarser

levels = st.sampled_from([COARSE, FINE])
some = st.lists(st.floats(0, 1e4, width=32), min_size=1, max_size=40).map(torch.tensor)
sizes = st.integers(1, 23)


# ---- scales


@given(some, levels)
def test_a_level_is_within_the_stated_error(numbers: torch.Tensor, bits: int) -> None:
    scale = Scale.of(numbers, bits)
    read = unpacking.numbers(scale.levels(numbers), scale.maximum, bits)
    for number, back in zip(numbers.tolist(), read.tolist(), strict=True):
        assert abs(number - back) <= scale.error(number) * 1.001


@given(some, levels)
def test_levels_keep_the_order_and_nothing_is_nothing(numbers: torch.Tensor, bits: int) -> None:
    scale = Scale.of(numbers, bits)
    ordered = scale.levels(numbers.sort().values)
    assert (ordered.diff() >= 0).all()
    assert ((ordered >= 0) & (ordered <= scale.top)).all()
    assert scale.levels(torch.zeros(3)).tolist() == [0, 0, 0]


def test_with_16_bits_three_decimals_are_right() -> None:
    assert Scale(1.0, FINE).error() < 2e-5
    assert Scale(1.0, COARSE).error() < 4e-3


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -0.5])
def test_what_is_no_weight_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="finite and not negative, but there is"):
        Scale.of(torch.tensor([0.5, wrong]), FINE)


# ---- bytes


@given(st.lists(st.integers(0, 2**32 - 1), max_size=30))
def test_planes_read_back(numbers: list[int]) -> None:
    tensor = torch.tensor(numbers, dtype=torch.int64)
    packed = text(planes(tensor, width(tensor)), planes(tensor, 5))
    read = unpacking.Planes(packed)
    assert torch.as_tensor(read.take(len(numbers), width(tensor))).tolist() == numbers
    assert torch.as_tensor(read.take(len(numbers), 5)).tolist() == numbers
    assert len(read.bytes) == 0


@given(sizes, sizes, st.sampled_from([0.0, 0.05, 0.2]), levels, st.randoms())
def test_single_weights_read_back(queries: int, keys: int, least: float, bits: int, random: object) -> None:
    """All of at least `least`, and nothing else."""
    whole = weights(queries, keys).tril()
    values, order = whole.sort(dim=-1, descending=True)
    order = order.masked_fill(values == 0, -1)
    kept = Singles.of(order, values, least, keys)
    scale = Scale.of(kept.weights, bits)
    about = [len(kept.weights), *kept.widths, scale.maximum]
    read = unpacking.singles(unpacking.Planes(kept.text(scale)), about, bits, queries, keys)
    expected = whole.masked_fill(whole < least, 0.0)
    assert ((expected > 0).sum() == len(kept.weights)).all()
    torch.testing.assert_close(read.float(), expected, atol=scale.error(), rtol=0)


# ---- pooling


@given(sizes, sizes, sizes, sizes, sizes)
def test_pooling_again_is_pooling_once(queries: int, keys: int, rows: int, columns: int, most: int) -> None:
    whole = weights(2, queries, keys)
    once = coarser(whole, queries, keys, min(rows, queries), min(columns, keys))
    fewer = cells(min(rows, queries), queries, most), cells(min(columns, keys), keys, most)
    assert max(fewer) <= most
    twice = coarser(once, queries, keys, *fewer)
    torch.testing.assert_close(twice, coarser(whole, queries, keys, *fewer))


@given(sizes, sizes, sizes, sizes)
def test_pooling_is_the_observation(queries: int, keys: int, rows: int, columns: int) -> None:
    query, key = torch.randn(1, 2, queries, 4), torch.randn(1, 2, keys, 4)
    record = {"all": regard.Weights(), "pooled": regard.Pooled(rows, columns)}
    _, seen = regard.observe(query, key, key, record=record)
    fewer = cells(rows, queries, rows), cells(columns, keys, columns)
    expected = coarser(seen["all"][0], queries, keys, *fewer)
    torch.testing.assert_close(coarser(seen["pooled"][0], queries, keys, *fewer), expected)


@given(sizes, sizes)
def test_means_over_neighbours_keep_the_sum(pieces: int, bins: int) -> None:
    bins = min(pieces, bins)
    lines = torch.rand(3, pieces)
    share = torch.bincount(torch.arange(pieces) * bins // pieces)
    torch.testing.assert_close((averaged(lines, bins) * share).sum(-1), lines.sum(-1))


# ---- the whole


def test_small_looks_are_kept_whole() -> None:
    plan = Archive.of([translation(), look()], room=1_000_000).plan
    assert (plan.bits, plan.least) == (FINE, 0.0)


def test_what_is_kept_fits_and_is_as_fine_as_it_can_be() -> None:
    """Less room never keeps more, and the plan says what is kept."""
    one = watched(300, layers=2, heads=2)
    plans = []
    for room in (1_000_000, 200_000, 100_000, 40_000, 9_000):
        archive = Archive.of([one], room=room)
        assert sum(map(len, archive.texts.values())) <= room
        plans.append(archive.plan)
        about = archive.about[0]["blocks"][1]
        for head, (kept, *_) in enumerate(about["singles"]):
            values = one.layers[0].topk.weights[head]
            assert kept == ((values >= archive.plan.least) & (values > 0)).sum()
    assert plans[0].least == 0
    assert plans[-1].least > 0.02
    fineness = [(plan.bins, plan.cells, -plan.least) for plan in plans]
    assert all(a[axis] >= b[axis] for a, b in pairwise(fineness) for axis in (0, 1))
    assert {plan.least for plan in plans} <= set(LEAST)


def test_what_cannot_fit_is_refused() -> None:
    with pytest.raises(ValueError, match="a page cannot hold this much: 3 rows of heads"):
        Archive.of([watched(300)], room=500)


def test_the_same_looks_make_the_same_archive() -> None:
    one, two = (Archive.of([watched(300)], room=60_000) for _ in range(2))
    assert one == two


@settings(max_examples=10)
@given(st.sampled_from([0, 1, 2]))
def test_means_are_exact(group: int) -> None:
    """The mean of layers, and of each layer's heads."""
    one = translation(layers=2, heads=3)
    layers = one.layers[2 * group : 2 * group + 2]
    archive = Archive.of([one], room=1_000_000)
    block = archive.about[0]["blocks"][3 * group]
    assert block["names"] == [layer.name for layer in layers]
    assert block["heads"] == 0
    nats = torch.stack([layer.entropy for layer in layers]).mean()
    assert block["spread"][0] == pytest.approx(nats.item(), rel=1e-4)


def test_a_long_look_keeps_its_strongest_weights() -> None:
    one = long(2048, layers=1, heads=2)
    archive = Archive.of([one], room=120_000)
    assert archive.plan.cells <= 256
    assert 0 < archive.plan.least < 1
