"""Scores: each is its formula, has one meaning in all its forms, and is bounded or scaled as it says."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import regard
from regard.attention.lowering import AdditiveScores, DotScores
from regard.attention.place import Place

HEADS, QUERIES, KEYS = 6, 5, 7
PLACE = Place(batch=2, heads=HEADS, queries=QUERIES, keys=KEYS)
LEARNED = ("general", "additive")
NAMES = ("dot", "scaled", "scale", "general", "additive", "softcap", "bias", "capped general with bias")


def draw(query_dim: int = 3, key_dim: int = 3, kv_heads: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(2, HEADS, QUERIES, query_dim, dtype=torch.float64)
    key = torch.randn(2, kv_heads, KEYS, key_dim, dtype=torch.float64)
    return query, key, torch.randn(2, kv_heads, KEYS, 5, dtype=torch.float64)


def score_called(name: str) -> regard.Score:
    bias = regard.Bias(torch.randn(HEADS, 1, KEYS, dtype=torch.float64))
    options = {"heads": HEADS, "dtype": torch.float64}
    return {
        "dot": lambda: regard.Dot(),
        "scaled": lambda: regard.ScaledDot(),
        "scale": lambda: regard.ScaledDot(0.3),
        "general": lambda: regard.General(3, **options),
        "additive": lambda: regard.Additive(3, 11, kv_heads=2, **options),
        "softcap": lambda: regard.SoftCap(regard.Dot(), 2.0),
        "bias": lambda: regard.ScaledDot() + bias + regard.Bias(torch.ones(1, dtype=torch.float64)),
        "capped general with bias": lambda: regard.SoftCap(regard.General(3, **options), 1.5) + bias,
    }[name]()


def matrix(score: regard.Score, query: Tensor, key: Tensor) -> Tensor:
    """The formula, on keys repeated for grouped queries, as the reference backend calls it."""
    query, key = score.project(query, key, False)
    return score.matrix(query, key.repeat_interleave(HEADS // key.shape[1], 1), PLACE)


def materialised(lowered: DotScores | AdditiveScores) -> Tensor:
    """What a fused kernel computes, in loops over heads."""
    heads = []
    for head in range(HEADS):
        query, key = lowered.query[:, head], lowered.key[:, head // (HEADS // lowered.key.shape[1])]
        if isinstance(lowered, DotScores):
            scores = lowered.scale * torch.einsum("bid,bjd->bij", query, key)
            if lowered.softcap is not None:
                scores = lowered.softcap * torch.tanh(scores / lowered.softcap)
        else:
            hidden = torch.tanh(query[:, :, None] + key[:, None])
            scores = torch.einsum("d,bijd->bij", lowered.weight[head], hidden)
        heads.append(scores)
    scores = torch.stack(heads, 1)
    if isinstance(lowered, DotScores) and lowered.row is not None:
        scores = scores + lowered.row
    return scores + sum(term.matrix(PLACE) for term in lowered.terms)


@pytest.mark.parametrize("name", NAMES)
def test_lowered_is_the_formula(name: str) -> None:
    score = score_called(name)
    query, key, _ = draw()
    expected = matrix(score, query, key)
    torch.testing.assert_close(materialised(score.lower(query, key, False, PLACE)), expected, rtol=1e-12, atol=1e-12)
    prepared = score.prepare(key).keys
    torch.testing.assert_close(
        materialised(score.lower(query, prepared, True, PLACE)), expected, rtol=1e-12, atol=1e-12
    )


def test_a_cap_around_terms_or_tanh_has_no_fused_form() -> None:
    query, key, _ = draw()
    inside = regard.Dot() + regard.Bias(torch.ones(KEYS))
    for score in (inside, regard.SoftCap(regard.Dot(), 3.0), score_called("additive")):
        assert regard.SoftCap(score, 2.0).lower(query, key, False, PLACE) is None


@pytest.mark.parametrize("name", NAMES)
def test_prepared_keys_are_the_keys(name: str) -> None:
    score = score_called(name)
    query, key, value = draw()
    prepared = score.prepare(key)
    mask = regard.Lengths([KEYS, 4])
    torch.testing.assert_close(
        regard.attend(query, prepared, value, score=score, mask=mask),
        regard.attend(query, key, value, score=score, mask=mask),
        rtol=1e-12,
        atol=1e-12,
    )


def test_general_is_projecting_the_query_of_each_head() -> None:
    query, key, value = draw(query_dim=3, key_dim=7)
    score = regard.General(3, key_dim=7, heads=HEADS, dtype=torch.float64)
    projected = torch.stack([query[:, head] @ score.weight[head] for head in range(HEADS)], 1)
    torch.testing.assert_close(
        regard.attend(query, key, value, score=score),
        regard.attend(projected, key, value, score=regard.Dot()),
        rtol=1e-12,
        atol=1e-12,
    )


def test_additive_by_hand() -> None:
    """`s = 3 tanh(2 q + 5 k)`, at one query and two keys."""
    score = regard.Additive(1, 1, dtype=torch.float64)
    with torch.no_grad():
        score.query_weight.fill_(2.0)
        score.key_weight.fill_(5.0)
        score.weight.fill_(3.0)
    query = torch.tensor([0.1], dtype=torch.float64).view(1, 1, 1, 1)
    key = torch.tensor([-0.1, 0.2], dtype=torch.float64).view(1, 1, 2, 1)
    value = torch.tensor([0.0, 1.0], dtype=torch.float64).view(1, 1, 2, 1)
    first, second = 3 * math.tanh(0.2 - 0.5), 3 * math.tanh(0.2 + 1.0)
    expected = math.exp(second) / (math.exp(first) + math.exp(second))
    context = regard.attend(query, key, value, score=score)
    assert context.item() == pytest.approx(expected, rel=1e-14)
    assert regard.Concat is regard.Additive


def test_each_head_group_projects_with_its_own_weights() -> None:
    query, key, value = draw(query_dim=3, key_dim=7)
    score = regard.Additive(3, 11, key_dim=7, heads=HEADS, kv_heads=2, dtype=torch.float64)
    context = regard.attend(query, key, value, score=score)
    for head in range(HEADS):
        group = head // (HEADS // 2)
        one = regard.Additive(3, 11, key_dim=7, dtype=torch.float64)
        with torch.no_grad():
            one.query_weight.copy_(score.query_weight[head, None])
            one.key_weight.copy_(score.key_weight[group, None])
            one.weight.copy_(score.weight[head, None])
        alone = regard.attend(query[:, head, None], key[:, group, None], value[:, group, None], score=one)
        torch.testing.assert_close(context[:, head, None], alone, rtol=1e-12, atol=1e-12)


@given(cap=st.floats(0.1, 50.0), scale=st.sampled_from((0.1, 1.0, 100.0)))
def test_soft_cap_bounds_and_keeps_the_order(cap: float, scale: float) -> None:
    query, key, _ = draw(kv_heads=HEADS)
    plain = regard.ScaledDot(scale).matrix(query, key, PLACE)
    capped = regard.SoftCap(regard.ScaledDot(scale), cap).matrix(query, key, PLACE)
    assert float(capped.abs().max()) <= cap
    assert bool((capped.abs() <= plain.abs() * (1 + 1e-12)).all())
    ordered = capped.gather(-1, plain.argsort(-1))
    assert bool((ordered.diff(dim=-1) >= 0).all())


def test_terms_outside_a_cap_are_not_capped() -> None:
    query, key, value = draw()
    bias = torch.full((KEYS,), -100.0, dtype=torch.float64)
    bias[2] = 0.0
    context = regard.attend(query, key, value, score=regard.SoftCap(regard.Dot(), 1.0) + regard.Bias(bias))
    values = value[:, :, 2].repeat_interleave(HEADS // 2, 1).unsqueeze(2).expand_as(context)
    torch.testing.assert_close(context, values, rtol=1e-12, atol=1e-12)
    inside = regard.attend(query, key, value, score=regard.SoftCap(regard.Dot() + regard.Bias(bias), 1.0))
    assert not torch.allclose(inside, values)


@pytest.mark.parametrize("shape", [(), (7,), (5, 1), (6, 1, 7), (2, 1, 5, 7), (2, 6, 5, 7), (1, 1, 1, 1)])
def test_bias_broadcasts_and_adds(shape: tuple[int, ...]) -> None:
    query, key, value = draw()
    first, second = torch.randn(2, *shape, dtype=torch.float64)
    one = regard.ScaledDot() + regard.Bias(first) + regard.Bias(second)
    other = regard.ScaledDot() + regard.Bias((first + second).expand(2, HEADS, QUERIES, KEYS).clone())
    torch.testing.assert_close(
        regard.attend(query, key, value, score=one),
        regard.attend(query, key, value, score=other),
        rtol=1e-12,
        atol=1e-12,
    )


def test_minus_infinity_in_a_bias_hides_a_pair() -> None:
    query, key, value = draw()
    allowed = torch.rand(2, 1, QUERIES, KEYS) < 0.5
    allowed[1, 0, 3] = False
    hidden = torch.zeros(2, 1, QUERIES, KEYS).masked_fill(~allowed, -torch.inf)
    biased = regard.attend(query, key, value, score=regard.ScaledDot() + regard.Bias(hidden))
    masked = regard.attend(query, key, value, mask=regard.Dense(allowed))
    torch.testing.assert_close(biased, masked, rtol=1e-12, atol=1e-12)
    assert not biased[1, :, 3].any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_a_bias_of_another_dtype_leaves_the_dtype_of_the_call(dtype: torch.dtype) -> None:
    query, key, value = (tensor.float() for tensor in draw())
    context = regard.attend(query, key, value, score=regard.Dot() + regard.Bias(torch.ones(KEYS, dtype=dtype)))
    assert context.dtype == torch.float32


class Distance(regard.Score):
    """A user's own score: `-|query - key|`."""

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Tensor:
        return -torch.cdist(query, key)


class Nearness(regard.Term):
    """A user's own term: `-|i + offset - j|`."""

    def matrix(self, place: Place) -> Tensor:
        return -(place.stand.unsqueeze(-1) - place.key_index).abs().float()


def test_own_scores_and_terms() -> None:
    query, key, value = draw()
    score = Distance() + Nearness()
    context, seen = regard.observe(query, key, value, score=score, offset=1, record=[regard.Weights()])
    scores = torch.empty(2, HEADS, QUERIES, KEYS, dtype=torch.float64)
    for head in range(HEADS):
        for i in range(QUERIES):
            for j in range(KEYS):
                difference = query[:, head, i] - key[:, head // 3, j]
                scores[:, head, i, j] = -difference.square().sum(-1).sqrt() - abs(i + 1 - j)
    torch.testing.assert_close(seen.weights, scores.softmax(-1), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(context, seen.weights @ value.repeat_interleave(3, 1), rtol=1e-12, atol=1e-12)


def test_an_optimizer_finds_what_is_learned() -> None:
    bias = nn.Parameter(torch.zeros(KEYS))
    score = regard.SoftCap(regard.General(3, heads=HEADS), 5.0) + regard.Bias(bias)
    assert [name for name, _ in score.named_parameters()] == ["score.score.weight", "term.tensor"]
    fixed = regard.ScaledDot() + regard.Bias(torch.zeros(KEYS))
    assert list(fixed.parameters()) == []
    assert [name for name, _ in fixed.named_buffers()] == ["term.tensor"]
    assert not fixed.state_dict()  # a mask-like bias is no weight of a model


@pytest.mark.parametrize("name", LEARNED)
def test_first_weights_leave_the_scale(name: str) -> None:
    """Scores of unit-variance queries and keys are of the order of one, at any width."""
    options = {"heads": 2}
    score = regard.General(64, **options) if name == "general" else regard.Additive(64, 128, **options)
    query, key = torch.randn(2, 3, 2, 17, 64)
    scores = score.matrix(*score.project(query, key, False), PLACE)
    assert 0.2 < scores.std().item() < 12.0
