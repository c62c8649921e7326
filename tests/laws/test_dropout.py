"""Dropout: counter-based, so that the same weights fall on every backend, for every block size, in every pass."""

import math
from collections.abc import Iterator
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import regard
from regard.attention.capabilities import TABLE, Feature
from regard.attention.place import Place
from regard.attention.random import keep_all
from regard.ops import random

ABLE = [name for name, features in TABLE.items() if Feature.DROPOUT in features]
WORD = 2**32

FROZEN_MIX = 0x688990C0
FROZEN = {  # (seed, batch, head, query, key): bits
    (0, 0, 0, 0, 0): 0x00000000,
    (1, 0, 0, 0, 0): 0x11600BA3,
    (-1, 0, 0, 0, 0): 0xEFAE50F2,
    (1099511627783, 1, 2, 3, 5): 0xBF84850C,
    (1099511627783, 1, 2, 5, 3): 0xE668DACD,
    (-9223372036854775808, 13, 11, 100003, 99991): 0xBFA90C16,
}


# The contract of `regard.ops.random`, in plain integers.


def mix(x: int) -> int:
    x = (x ^ (x >> 16)) * 0x7FEB352D % WORD
    x = (x ^ (x >> 15)) * 0x846CA68B % WORD
    return x ^ (x >> 16)


def place_of(shape: tuple[int, ...]) -> Place:
    return Place(**dict(zip(("batch", "heads", "queries", "keys"), shape, strict=True)))


def bits(seed: int, batch: int, head: int, query: int, key: int) -> int:
    low, high = seed % WORD, seed // WORD % WORD
    row = mix((mix((mix(low ^ batch) + head) % WORD ^ high) + query) % WORD)
    return mix((mix(key ^ mix(row)) + row) % WORD)


def kept(seed: int, dropout: float, shape: tuple[int, ...]) -> Tensor:
    places = product(*map(range, shape))
    return torch.tensor([bits(seed, *place) >= round(dropout * WORD) for place in places]).view(shape)


@pytest.fixture
def seeds(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The seeds that calls draw while the test runs."""
    drawn: list[int] = []

    def draw_seed() -> int:
        drawn.append(random.draw_seed())
        return drawn[-1]

    monkeypatch.setattr("regard.attention.running.draw_seed", draw_seed)
    return drawn


def draw(heads: int = 2, *, backend: str = "reference") -> tuple[Tensor, Tensor, Tensor]:
    dtype = torch.float64 if Feature.FLOAT64 in TABLE[backend] else torch.float32
    query = torch.randn(3, heads, 5, 3, dtype=dtype)
    key, value = torch.randn(2, 3, heads, 7, 3, dtype=dtype)
    return query, key, value


def close(one: Tensor, other: Tensor) -> None:
    """To a few units of rounding."""
    few = (1e4 if one.dtype == torch.float64 else 20) * torch.finfo(one.dtype).eps
    torch.testing.assert_close(one, other, rtol=few, atol=few)


@pytest.mark.parametrize("backend", ABLE)
def test_dropped_are_the_weights_that_the_contract_names(backend: str, seeds: list[int]) -> None:
    query, key, value = draw(backend=backend)
    _, seen = regard.observe(query, key, value, record=[regard.Weights()])
    for dropout in (0.1, 0.5, 0.9):
        context = regard.attend(query, key, value, dropout=dropout, backend=backend)
        mask = kept(seeds[-1], dropout, (3, 2, 5, 7))
        close(context, (seen.weights * mask / (1 - dropout)) @ value)
    assert len(set(seeds)) == 3


@pytest.mark.parametrize("backend", ABLE)
def test_the_backward_pass_drops_the_same(backend: str, seeds: list[int]) -> None:
    query, key, value = draw(backend=backend)
    value.requires_grad_()
    context = regard.attend(query, key, value, dropout=0.5, backend=backend)
    (gradient,) = torch.autograd.grad(context.sum(), value)
    _, seen = regard.observe(query, key, value, record=[regard.Weights()])
    mask = kept(seeds[-1], 0.5, (3, 2, 5, 7))
    expected = (seen.weights * mask * 2).sum(-2).unsqueeze(-1).expand_as(value)
    close(gradient, expected)


@pytest.mark.parametrize("backend", ABLE)
def test_manual_seed_decides(backend: str) -> None:
    query, key, value = draw(backend=backend)

    def contexts() -> Tensor:
        return torch.stack([regard.attend(query, key, value, dropout=0.5, backend=backend) for _ in range(3)])

    torch.manual_seed(3)
    first = contexts()
    torch.manual_seed(3)
    assert torch.equal(contexts(), first)
    torch.manual_seed(5)
    assert not torch.equal(contexts(), first)
    assert not torch.equal(first[0], first[1])


def test_without_dropout_nothing_is_drawn() -> None:
    query, key, value = draw()
    before = torch.get_rng_state()
    regard.attend(query, key, value)
    regard.observe(query, key, value, record=[regard.TopK(3), regard.Entropy()])
    regard.plan(query, key, value, dropout=0.5)
    assert torch.equal(torch.get_rng_state(), before)
    regard.attend(query, key, value, dropout=0.5)
    assert not torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("backend", [name for name in ABLE if Feature.OBSERVE in TABLE[name]])
def test_recording_draws_nothing_and_sees_the_weights_before_dropout(backend: str) -> None:
    query, key, value = draw(backend=backend)
    record = [regard.Weights(), regard.Entropy(), regard.TopK(2)]
    torch.manual_seed(7)
    expected = [regard.attend(query, key, value, dropout=0.5, backend=backend) for _ in range(2)]
    state = torch.get_rng_state()
    torch.manual_seed(7)
    observed = [regard.observe(query, key, value, dropout=0.5, record=record, backend=backend) for _ in range(2)]
    assert torch.equal(torch.get_rng_state(), state)
    for context, (again, seen) in zip(expected, observed, strict=True):
        assert torch.equal(again, context) or backend == "native"  # whose plain softmax differs in its last bits
        torch.testing.assert_close(again, context)
        torch.testing.assert_close(seen.weights.sum(-1), torch.ones(3, 2, 5, dtype=seen.weights.dtype))


def test_expectation_of_the_context_is_the_context() -> None:
    query, key, value = draw()
    expected = regard.attend(query, key, value)
    runs = 1009
    many = [tensor.repeat(runs, 1, 1, 1) for tensor in (query, key, value)]
    contexts = regard.attend(*many, dropout=0.3).unflatten(0, (runs, 3))
    error = (contexts.mean(0) - expected) / (contexts.std(0) / math.sqrt(runs))
    assert float(error.abs().max()) < 5.0  # standard errors; 90 entries


@pytest.mark.parametrize("backend", ABLE)
def test_a_row_alone_keeps_what_its_first_rows_keep(backend: str) -> None:
    """What is kept does not depend on how many rows, heads, queries or keys there are."""
    query, key, value = draw(backend=backend)
    torch.manual_seed(11)
    whole = regard.attend(query, key, value, dropout=0.4, backend=backend)
    torch.manual_seed(11)
    part = regard.attend(query[:2, :1, :3], key[:2, :1], value[:2, :1], dropout=0.4, backend=backend)
    close(part, whole[:2, :1, :3])


# The numbers themselves


def test_frozen_values() -> None:
    """Computed once, by hand; a backend whose numbers differ drops other weights."""
    assert mix(1) == FROZEN_MIX
    for place, expected in FROZEN.items():
        assert bits(*place) == expected
        seed, *indices = place
        assert int(random.bits(seed, *map(torch.tensor, indices))) == expected


@given(
    st.integers(-(2**63), 2**63 - 1),
    st.tuples(*[st.integers(0, 2**31 - 1)] * 4),
    st.floats(0.0, 1.0, exclude_max=True),
)
def test_bits_follow_the_contract(seed: int, place: tuple[int, ...], dropout: float) -> None:
    indices = [torch.tensor(index) for index in place]
    expected = bits(seed, *place)
    assert int(random.bits(seed, *indices)) == expected
    assert bool(random.keep(seed, dropout, *indices)) == (expected >= round(dropout * WORD))


@given(st.integers(-(2**63), 2**63 - 1), st.data())
def test_blocks_hold_what_the_whole_holds(seed: int, data: st.DataObject) -> None:
    shape = (2, 3, 5, 7)
    whole = keep_all(seed, 0.5, place_of(shape))
    starts = [data.draw(st.integers(0, size - 1)) for size in shape]
    block = [
        torch.arange(start, size).view([-1 if axis == place else 1 for axis in range(4)])
        for place, (start, size) in enumerate(zip(starts, shape, strict=True))
    ]
    corner = tuple(slice(start, None) for start in starts)
    assert torch.equal(random.keep(seed, 0.5, *block), whole[corner])


@pytest.mark.parametrize("dropout", [0.01, 0.1, 0.3, 0.5, 0.9])
def test_shares_are_those_of_independent_draws(dropout: float) -> None:
    """Overall, along each axis, and between neighbours, within five standard errors."""
    sizes = (13, 17, 61, 67)
    keep = keep_all(12345, dropout, place_of(sizes)).double()
    rate, spread = 1 - dropout, math.sqrt(dropout * (1 - dropout))
    assert abs(float(keep.mean()) - rate) < 5 * spread / math.sqrt(keep.numel())
    for axis in range(4):
        others = tuple(other for other in range(4) if other != axis)
        limit = 5 * spread / math.sqrt(keep.numel() / sizes[axis])
        assert float((keep.mean(others) - rate).abs().max()) < limit
        first, second = keep.narrow(axis, 0, sizes[axis] - 1), keep.narrow(axis, 1, sizes[axis] - 1)
        correlation = float(((first - rate) * (second - rate)).mean()) / spread**2
        assert abs(correlation) < 5 / math.sqrt(first.numel())


def test_bits_are_uniform() -> None:
    """Chi-square of 256 bins, for the high and the low byte, and between two seeds."""
    index = torch.arange(2**18)
    zero = torch.tensor(0)
    first, second = (random.bits(seed, zero, zero, zero, index) for seed in (1, 2))
    for byte in (first >> 24, first & 255, (first ^ second) >> 24, (first ^ second) & 255):
        counts = torch.bincount(byte, minlength=256).double()
        chi = float(((counts - 2**10).square() / 2**10).sum())
        assert abs(chi - 255) < 5 * math.sqrt(2 * 255)


def test_seeds_are_64_bits_wide() -> None:
    seeds = torch.tensor([random.draw_seed() for _ in range(257)])
    for bit in range(64):
        assert 0.3 < float(((seeds >> bit) & 1).double().mean()) < 0.7
