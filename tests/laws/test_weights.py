"""Weights: shares of one over the allowed keys, nothing for a query that sees nothing; keys and queries are sets."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.scenes import Scene, expressions, few, scenes
from torch import Tensor

import regard

SCENE = Scene(batch=2, heads=3, queries=5, keys=7)


def draw(scene: Scene = SCENE) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(scene.batch, scene.heads, scene.queries, 3, dtype=torch.float64)
    key = torch.randn(scene.batch, scene.heads, scene.keys, 3, dtype=torch.float64)
    return query, key, torch.randn(scene.batch, scene.heads, scene.keys, 5, dtype=torch.float64)


def weights_of(query: Tensor, key: Tensor, value: Tensor, **options) -> Tensor:
    return regard.observe(query, key, value, record=[regard.Weights()], **options)[1].weights


@few
@given(st.data())
def test_weights_are_shares_of_one_over_the_allowed_keys(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    query, key, value = draw(scene)
    context, seen = regard.observe(query, key, value, mask=drawn.mask, offset=scene.offsets, record=[regard.Weights()])
    sees = drawn.matrix(scene)
    assert bool((seen.weights >= 0).all())
    assert not seen.weights[~sees].any()
    torch.testing.assert_close(seen.weights.sum(-1), sees.any(-1).double(), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(context, seen.weights @ value, rtol=1e-12, atol=1e-12)


@few
@given(st.data())
def test_a_query_that_sees_nothing_gets_zeros_and_gives_none(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    sees = drawn.matrix(scene)
    for backend in ("reference", "sdpa"):
        query, key, value = (tensor.requires_grad_() for tensor in draw(scene))
        context = regard.attend(query, key, value, mask=drawn.mask, offset=scene.offsets, backend=backend)
        (context * torch.randn_like(context)).sum().backward()
        assert not context[~sees.any(-1)].any()
        assert not query.grad[~sees.any(-1)].any()
        for tensor in (key, value):
            assert not tensor.grad[~sees.any(-2)].any()
        assert all(bool(tensor.grad.isfinite().all()) for tensor in (query, key, value))


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
@pytest.mark.parametrize(("queries", "keys", "batch"), [(5, 0, 2), (0, 7, 2), (0, 0, 2), (5, 7, 0), (1, 1, 1)])
def test_sizes_of_nothing(backend: str, queries: int, keys: int, batch: int) -> None:
    scene = Scene(batch=batch, heads=3, queries=queries, keys=keys)
    query, key, value = (tensor.requires_grad_() for tensor in draw(scene))
    lengths = torch.full((batch,), keys)
    for mask in (None, regard.Causal(), regard.Lengths(lengths) | regard.Window(1)):
        context = regard.attend(query, key, value, mask=mask, backend=backend)
        assert context.shape == (batch, 3, queries, 5)
        assert context.isfinite().all()
        context.sum().backward()
    if keys == 0:
        assert not context.any()


@few
@given(st.data())
def test_the_order_of_keys_is_nothing(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    sees = data.draw(expressions(scene)).matrix(scene)
    order = torch.tensor(data.draw(st.permutations(range(scene.keys))))
    query, key, value = draw(scene)
    torch.testing.assert_close(
        regard.attend(query, key[:, :, order], value[:, :, order], mask=regard.Dense(sees[..., order])),
        regard.attend(query, key, value, mask=regard.Dense(sees)),
        rtol=1e-12,
        atol=1e-12,
    )


@few
@given(st.data())
def test_the_order_of_queries_is_that_of_contexts(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    sees = data.draw(expressions(scene)).matrix(scene)
    order = torch.tensor(data.draw(st.permutations(range(scene.queries))))
    query, key, value = draw(scene)
    torch.testing.assert_close(
        regard.attend(query[:, :, order], key, value, mask=regard.Dense(sees[:, :, order])),
        regard.attend(query, key, value, mask=regard.Dense(sees))[:, :, order],
        rtol=1e-12,
        atol=1e-12,
    )


def test_grouped_heads_are_repeated_heads() -> None:
    query = torch.randn(2, 6, 5, 3, dtype=torch.float64)
    key, value = torch.randn(2, 2, 2, 7, 3, dtype=torch.float64)
    for backend in ("reference", "sdpa"):
        grouped = regard.attend(query, key, value, backend=backend)
        repeated = regard.attend(query, key[:, [0, 0, 0, 1, 1, 1]], value[:, [0, 0, 0, 1, 1, 1]], backend=backend)
        torch.testing.assert_close(grouped, repeated, rtol=1e-12, atol=1e-12)


# Softmax


@few
@given(temperature=st.floats(0.1, 10.0), scale=st.floats(0.1, 3.0))
def test_temperature_divides_the_scores(temperature: float, scale: float) -> None:
    query, key, value = draw()
    torch.testing.assert_close(
        weights_of(query, key, value, score=regard.ScaledDot(scale), normalize=regard.Softmax(temperature)),
        weights_of(query, key, value, score=regard.ScaledDot(scale / temperature)),
        rtol=1e-12,
        atol=1e-12,
    )


def test_temperature_divides_the_terms_too() -> None:
    query, key, value = draw()
    bias = torch.randn(5, 7, dtype=torch.float64)
    for backend in ("reference", "sdpa"):
        torch.testing.assert_close(
            regard.attend(
                query,
                key,
                value,
                score=regard.Dot() + regard.Bias(bias),
                normalize=regard.Softmax(2.5),
                backend=backend,
            ),
            regard.attend(query, key, value, score=regard.ScaledDot(0.4) + regard.Bias(bias / 2.5), backend=backend),
            rtol=1e-12,
            atol=1e-12,
        )


def test_from_one_hot_to_uniform() -> None:
    query, key, value = draw()
    cold = weights_of(query, key, value, normalize=regard.Softmax(1e-4))
    warm = weights_of(query, key, value, normalize=regard.Softmax(1e6))
    torch.testing.assert_close(cold.amax(-1), torch.ones(2, 3, 5, dtype=torch.float64))
    torch.testing.assert_close(warm, torch.full_like(warm, 1 / 7), rtol=1e-5, atol=0)


def test_adding_a_constant_to_a_row_changes_nothing() -> None:
    query, key, value = draw()
    rows = regard.Bias(100 * torch.randn(2, 3, 5, 1, dtype=torch.float64))
    torch.testing.assert_close(
        weights_of(query, key, value, score=regard.Dot() + rows),
        weights_of(query, key, value, score=regard.Dot()),
        rtol=1e-10,
        atol=1e-12,
    )


def test_weights_by_hand() -> None:
    """Scores ln 1, ln 2 and ln 5, and the same without the last."""
    query = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    key = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64).log().view(1, 1, 3, 1)
    value = torch.tensor([8.0, 16.0, 32.0], dtype=torch.float64).view(1, 1, 3, 1)
    assert float(regard.attend(query, key, value)) == pytest.approx((8 + 2 * 16 + 5 * 32) / 8, rel=1e-14)
    masked = regard.attend(query, key, value, mask=regard.Prefix(2))
    assert float(masked) == pytest.approx((8 + 2 * 16) / 3, rel=1e-14)
