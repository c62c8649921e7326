"""The sparse normalisers, sparsemax, entmax and top-k: by definition, by hand, and by the package of their authors."""

import math

import entmax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.mechanism import HEADS, NORMALIZERS, WIDE
from tests.laws.rows import SHAPE, row, scores_for, some_allowed, weights_of
from torch import Tensor

import regard

SPARSE = {"sparsemax": 2.0, "entmax15": 1.5, "entmax": None}  # and their alpha; None: one for each head
EXACT = {"rtol": 1e-12, "atol": 1e-12}

# Sparsemax and entmax


def theirs(alpha: Tensor | float, scores: Tensor) -> Tensor:
    """What the entmax package gives."""
    if isinstance(alpha, Tensor):
        return entmax.entmax_bisect(scores, alpha.view(1, -1, 1, 1), dim=-1)
    return {1.5: entmax.entmax15, 2.0: entmax.sparsemax}[alpha](scores, dim=-1)


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("keys", [1, 2, 3, 7, 101])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_they_are_the_entmax_package(name: str, keys: int, scale: float) -> None:
    """Weights, and gradients for scores and alpha."""
    normalize = NORMALIZERS[name]()
    alpha = normalize.alpha if isinstance(normalize, regard.Entmax) else SPARSE[name]
    scores = (scale * torch.randn(2, HEADS, 5, keys, **WIDE)).requires_grad_()
    leaves = [scores, alpha] if isinstance(alpha, Tensor) else [scores]
    ours, peer = normalize.weights(scores, None), theirs(alpha, scores)
    torch.testing.assert_close(ours, peer, rtol=1e-9, atol=1e-9)
    assert torch.equal(ours > 1e-9, peer > 1e-9)
    probe = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * probe).sum(), leaves),
        torch.autograd.grad((peer * probe).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SPARSE)
def test_masking_is_leaving_out(name: str) -> None:
    """Each masked row is the package's, of the keys that are allowed."""
    normalize, scores, allowed = NORMALIZERS[name](), scores_for(name), some_allowed()
    weights = weights_of(normalize, scores, allowed)
    for place in allowed.any(-1).nonzero().tolist():
        b, h, i = place
        kept = allowed[b, h, i]
        alpha = normalize.alpha[h : h + 1] if isinstance(normalize, regard.Entmax) else SPARSE[name]
        expected = theirs(alpha, scores[b, h, i, kept].view(1, 1, 1, -1)).flatten()
        torch.testing.assert_close(weights[b, h, i, kept], expected, rtol=1e-9, atol=1e-9)


@given(alpha=st.floats(1.05, 4.0), scale=st.sampled_from((1e-6, 0.1, 1.0, 30.0)), keys=st.sampled_from((1, 2, 13, 997)))
def test_they_satisfy_their_definition(alpha: float, scale: float, keys: int) -> None:
    """`(alpha - 1) s - p^(alpha - 1)` is one threshold over the support, and no score outside exceeds it."""
    scores = scale * torch.randn(1, 1, 3, keys, **WIDE)
    normalize = [regard.Entmax(alpha)]
    normalize += [regard.Sparsemax()] if alpha > 3.0 else [regard.Entmax15()] if alpha < 1.5 else []
    for each in normalize:
        exact = {regard.Sparsemax: 2.0, regard.Entmax15: 1.5}.get(type(each), alpha)
        weights = each.weights(scores, None)
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 3, **WIDE), **EXACT)
        thresholds = (exact - 1) * scores - weights.pow(exact - 1)
        inside = weights > 0
        highest = thresholds.masked_fill(~inside, -torch.inf).amax(-1, keepdim=True)
        lowest = thresholds.masked_fill(~inside, torch.inf).amin(-1, keepdim=True)
        assert float((highest - lowest).max()) < 1e-9 * (1 + scale)
        outside = ((exact - 1) * scores).masked_fill(inside, -torch.inf)
        assert bool((outside <= highest + 1e-9 * (1 + scale)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("alpha", [1.0001, 1.1, 3.0, 10.0, 100.0])
def test_any_alpha_gives_shares_of_one(alpha: float, dtype: torch.dtype) -> None:
    scores = torch.randn(1, 1, 101, 31, dtype=dtype).requires_grad_()
    weights = regard.Entmax(alpha).weights(scores, None)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 101, dtype=dtype), rtol=1e-6, atol=1e-6)
    assert bool((weights >= 0).all())
    ordered = weights.gather(-1, scores.argsort(-1))
    assert bool((ordered.diff(dim=-1) >= 0).all())  # a higher score never has less
    assert torch.autograd.grad(weights.square().sum(), scores)[0].isfinite().all()


def test_entmax_has_sparsemax_entmax15_and_softmax_in_it() -> None:
    scores, allowed, probe = scores_for("entmax"), some_allowed(), torch.randn(SHAPE, **WIDE)
    scores.requires_grad_()
    for alpha, normalize in ((2.0, regard.Sparsemax()), (1.5, regard.Entmax15())):
        results = []
        for each in (regard.Entmax(alpha), normalize):
            weights = weights_of(each, scores, allowed)
            results.append((weights, *torch.autograd.grad((weights * probe).sum(), scores)))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    softmax = weights_of(regard.Softmax(), scores, allowed)
    errors = [
        float((weights_of(regard.Entmax(1 + less), scores, allowed) - softmax).detach().abs().max())
        for less in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)  # the difference goes with alpha - 1
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)


def test_sparsemax_and_entmax_by_hand() -> None:
    """The tau of sparsemax is 0.25; two keys that differ by d have the weights `((sqrt(8 - d^2) +- d) / 4)^2`."""
    assert regard.Sparsemax().weights(row(1.0, 0.5, -1.0), None).flatten().tolist() == [0.75, 0.25, 0.0]
    assert regard.Sparsemax().weights(row(3.0, 1.0), None).flatten().tolist() == [1.0, 0.0]
    roots = [(math.sqrt(8 - 1) + sign) / 4 for sign in (1, -1)]
    found = regard.Entmax15().weights(row(1.0, 0.0), None).flatten().tolist()
    assert found == pytest.approx([root**2 for root in roots], rel=1e-14)
    assert regard.Entmax15().weights(row(2.0, 0.0), None).flatten().tolist() == [1.0, 0.0]


def test_equal_scores_are_equal_weights() -> None:
    for normalize in (regard.Sparsemax(), regard.Entmax15(), regard.Entmax(3.0)):
        for keys in (1, 3, 1009):
            weights = normalize.weights(torch.full((1, 1, 1, keys), -7.0, **WIDE), None)
            torch.testing.assert_close(weights, torch.full_like(weights, 1 / keys), rtol=1e-12, atol=1e-14)


# Top-k


def test_top_k_by_hand() -> None:
    scores, third = row(1.0, 2.0, 2.0, 2.0, 0.0), math.exp(1) / (1 + 3 * math.exp(1))
    for k, expected in {
        1: [0.0, 1.0, 0.0, 0.0, 0.0],
        2: [0.0, 0.5, 0.5, 0.0, 0.0],
        4: [1 - 3 * third, third, third, third, 0.0],
    }.items():
        assert regard.TopKSoftmax(k).weights(scores, None).flatten().tolist() == pytest.approx(expected, rel=1e-14)
    allowed = torch.tensor([True, False, True, False, True]).view(1, 1, 1, 5)
    assert regard.TopKSoftmax(1).weights(scores, allowed).flatten().tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]
    squared = regard.TopKSoftmax(2, temperature=0.5).weights(row(0.0, math.log(2.0), -1.0), None)
    assert squared.flatten().tolist() == pytest.approx([0.2, 0.8, 0.0], rel=1e-14)


@given(
    scores=st.lists(st.lists(st.integers(-2, 2), min_size=7, max_size=7), min_size=1, max_size=3), k=st.integers(1, 9)
)
def test_top_k_takes_the_first_of_equal_scores(scores: list[list[int]], k: int) -> None:
    tensor = torch.tensor(scores, **WIDE).view(1, 1, -1, 7)
    allowed = torch.rand(1, 1, len(scores), 7) < 0.7
    weights = regard.TopKSoftmax(k).weights(tensor, allowed)
    for i, numbers in enumerate(scores):
        sees = [j for j in range(7) if allowed[0, 0, i, j]]
        kept = sorted(sees, key=lambda j: -numbers[j])[:k]  # Python's sort is stable
        total = sum(math.exp(numbers[j]) for j in kept)
        expected = [math.exp(numbers[j]) / total if j in kept else 0.0 for j in range(7)]
        assert weights[0, 0, i].tolist() == pytest.approx(expected, rel=1e-12)


def test_top_k_of_few_keys_is_softmax() -> None:
    scores, allowed = scores_for("top-k"), some_allowed()
    for k in (7, 8, 1000):
        torch.testing.assert_close(
            weights_of(regard.TopKSoftmax(k), scores, allowed), weights_of(regard.Softmax(), scores, allowed), **EXACT
        )
