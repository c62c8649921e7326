"""Cosine, Gaussian and kernels: each its formula, what leaves it as it is, and linear attention in O(n)."""

import math
import re

import pytest
import torch
from tests.laws.mechanism import BATCH, DIM, HEADS, KEYS, KV_HEADS, QUERIES, VALUE_DIM, WIDE, inputs
from torch import Tensor, nn
from torch.nn import functional

import regard
from regard.attention.backends import linear
from regard.attention.capabilities import Feature
from regard.attention.place import Place
from regard.attention.similarities import elu_plus_one

EXACT = {"rtol": 1e-12, "atol": 1e-12}
GROUP = HEADS // KV_HEADS
PLACE = Place(batch=BATCH, heads=HEADS, queries=QUERIES, keys=KEYS)


def refuses(text: str) -> pytest.RaisesExc:
    return pytest.raises(ValueError, match=re.escape(text))


def scores_of(score: regard.Score, query: Tensor, key: Tensor) -> Tensor:
    """The formula, on keys repeated for grouped queries, as the backends call it."""
    query, key = score.project(query, key, False)
    return score.matrix(query, key.repeat_interleave(query.shape[1] // key.shape[1], 1), PLACE)


def pairs(query: Tensor, key: Tensor) -> tuple[Tensor, Tensor]:
    """Each query beside each key of its group."""
    key = key.repeat_interleave(query.shape[1] // key.shape[1], 1)
    return torch.broadcast_tensors(query.unsqueeze(-2), key.unsqueeze(-3))


# Cosine


def test_cosine_is_the_angle_times_the_scale_of_the_head() -> None:
    query, key, _ = inputs()
    score = regard.Cosine(HEADS, scale=3.0, **WIDE)
    torch.testing.assert_close(score.log_scale.exp(), torch.full((HEADS,), 3.0, **WIDE), **EXACT)
    torch.nn.init.normal_(score.log_scale)
    scale = score.log_scale.exp().view(-1, 1, 1)
    expected = scale * functional.cosine_similarity(*pairs(query, key), dim=-1)
    torch.testing.assert_close(scores_of(score, query, key), expected, **EXACT)
    assert bool((scores_of(score, 1e3 * query, key).abs() <= scale * (1 + 1e-12)).all())
    parallel = scores_of(score, query, -2.0 * query[:, ::GROUP])
    torch.testing.assert_close(parallel[:, 0].diagonal(dim1=-2, dim2=-1), -scale[0, 0].expand(BATCH, QUERIES), **EXACT)


def test_cosine_does_not_see_lengths() -> None:
    query, key, value = inputs()
    score, mask = regard.Cosine(HEADS, **WIDE), regard.Lengths([9, 0])
    expected = regard.attend(query, key, value, score=score, mask=mask)
    query, key = (tensor * (10.0 * torch.randn(*tensor.shape[:-1], 1, **WIDE)).exp2() for tensor in (query, key))
    torch.testing.assert_close(regard.attend(query, key, value, score=score, mask=mask), expected, **EXACT)


def test_cosine_of_nothing_is_zero() -> None:
    score, nothing = regard.Cosine(HEADS, **WIDE), torch.zeros(BATCH, HEADS, QUERIES, DIM, **WIDE).requires_grad_()
    scores = scores_of(score, nothing, inputs()[1])
    assert not scores.any()
    assert torch.autograd.grad(scores.sum(), nothing)[0].isfinite().all()


# Gaussian


def distances(query: Tensor, key: Tensor) -> Tensor:
    first, second = pairs(query.double(), key.double())
    return (first - second).square().sum(-1)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 7.0])
def test_gaussian_is_its_formula(sigma: float) -> None:
    query, key, value = inputs()
    expected = -distances(query, key) / (2 * sigma**2)
    torch.testing.assert_close(scores_of(regard.Gaussian(sigma), query, key), expected, rtol=1e-11, atol=1e-11)
    context = expected.softmax(-1) @ value.repeat_interleave(GROUP, 1)
    for backend in ("reference", "streamed", "sdpa"):
        found = regard.attend(query, key, value, score=regard.Gaussian(sigma), backend=backend)
        torch.testing.assert_close(found, context, rtol=1e-10, atol=1e-10)


def test_gaussian_is_the_nadaraya_watson_estimator() -> None:
    """Of the points (0, 1), (1, 2) and (3, 8), at 1 and at 2, with a bandwidth of 1."""
    query, key, value = (
        torch.tensor(numbers, **WIDE).view(1, 1, -1, 1) for numbers in ([1.0, 2.0], [0.0, 1.0, 3.0], [1.0, 2.0, 8.0])
    )
    near, far = math.exp(-0.5), math.exp(-2.0)
    expected = [(near + 2 + 8 * far) / (near + 1 + far), (far + 2 * near + 8 * near) / (far + 2 * near)]
    context = regard.attend(query, key, value, score=regard.Gaussian())
    assert context.flatten().tolist() == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("shift", [1.0, 1e3, 1e5])
def test_gaussian_does_not_see_the_origin(shift: float) -> None:
    query, key, value = inputs()
    mask = regard.Lengths([9, 3])
    expected = regard.attend(query, key, value, score=regard.Gaussian(), mask=mask)
    moved = shift * torch.randn(DIM, **WIDE)
    found = regard.attend(query + moved, key + moved, value, score=regard.Gaussian(), mask=mask)
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("backend", ["reference", "streamed", "sdpa"])
@pytest.mark.parametrize(
    ("dtype", "sigma"), [(torch.bfloat16, 8.0), (torch.float16, 1.0), (torch.float32, 1.0)], ids=str
)
@pytest.mark.parametrize("mask", [None, regard.Causal(), regard.Lengths([KEYS, 2])], ids=repr)
def test_gaussian_is_right_far_from_the_origin(
    backend: str, dtype: torch.dtype, sigma: float, mask: regard.Mask | None
) -> None:
    """Around 1,000, where the numbers of bfloat16 are 4 apart, and their squares more than the distances.

    Distances to the mean key are at most `reach`, so that a score is off by a few roundings of `reach^2 / sigma^2`.
    """
    query, key = (1e3 + sigma * torch.randn(BATCH, heads, KEYS, DIM) for heads in (HEADS, KV_HEADS))
    query, key, value = query.to(dtype), key.to(dtype), torch.randn(BATCH, KV_HEADS, KEYS, VALUE_DIM).to(dtype)
    scores = -distances(query, key) / (2 * sigma**2)
    if mask is not None:
        scores = scores.masked_fill(~mask.allowed(Place(batch=BATCH, heads=HEADS, queries=KEYS, keys=KEYS)), -torch.inf)
    expected = scores.softmax(-1) @ value.double().repeat_interleave(GROUP, 1)
    found = regard.attend(query, key, value, score=regard.Gaussian(sigma), mask=mask, backend=backend)
    reach = 6.0 * math.sqrt(DIM)  # in units of sigma
    of_score = DIM * torch.finfo(torch.float32).eps * reach**2
    tolerance = 2 * of_score * float(value.abs().max()) + 2 * torch.finfo(dtype).eps * expected.abs() + 1e-6
    assert bool(((found.double() - expected).abs() <= tolerance).all())


# Kernels: linear attention

MASKS = {
    "none": lambda: None,
    "lengths": lambda: regard.Lengths([9, 0]),
    "left padding": lambda: regard.Lengths([9, 4], start=[8, 0]),
    "causal": regard.Causal,
    "documents": lambda: regard.Documents([[4, 7], [11, 0]], [[6, 11], [10, 7]]),
    "causal documents": lambda: regard.Causal() & regard.Documents([1, 2, 8], [3, 4, 10]),
    "causal lengths": lambda: regard.Lengths([9, 2]) & regard.Causal(),
    "all of them": lambda: (
        regard.Documents([[4, 7], [11, 0]], [[6, 11], [10, 7]])
        & regard.Lengths([16, 5], start=[1, 0])
        & regard.Causal()
    ),
}
OFFSETS = {"first": 0, "last": 6, "before": -3, "rows": torch.tensor([2, 6])}


def test_kernel_is_the_product_of_features() -> None:
    query, key, _ = inputs()
    for name, features in (("elu+1", elu_plus_one), ("relu", functional.relu), (torch.exp, torch.exp)):
        first, second = pairs(features(query), features(key))
        torch.testing.assert_close(scores_of(regard.Kernel(name), query, key), (first * second).sum(-1), **EXACT)
    assert elu_plus_one(torch.tensor([-1.0, 0.0, 2.0], **WIDE)).tolist() == pytest.approx([math.exp(-1), 1.0, 3.0])


@pytest.mark.parametrize("block", [1, 3, 128])
@pytest.mark.parametrize("mask", MASKS)
def test_linear_attention_is_its_definition(mask: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """For queries and keys of any number, at any offset, with the gradients of inputs and of a learned feature map."""
    monkeypatch.setattr(linear, "BLOCK", block)
    tensors = inputs()
    features = nn.Sequential(nn.Linear(DIM, 7), nn.Softplus()).double()
    score, built = regard.Kernel(features), MASKS[mask]()
    probe = torch.randn(BATCH, HEADS, QUERIES, VALUE_DIM, **WIDE)
    for offset in OFFSETS.values():
        found = []
        for backend in ("reference", "linear"):
            options = {"score": score, "normalize": regard.Sum(), "mask": built, "offset": offset}
            context = regard.attend(*tensors, backend=backend, **options)
            found.append((context, *torch.autograd.grad((context * probe).sum(), [*tensors, *features.parameters()])))
        for one, other in zip(*found, strict=True):
            torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("feature_map", ["elu+1", "relu", "random"])
@pytest.mark.parametrize("mask", ["none", "causal lengths"])
def test_every_feature_map_is_linear(feature_map: str, mask: str) -> None:
    """Those of ReLU can be zero for all that a query sees; it then sees nothing."""
    tensors = inputs()
    score = regard.Kernel(regard.RandomFeatures(DIM, 13).double() if feature_map == "random" else feature_map)
    options = {"score": score, "normalize": regard.Sum(), "mask": MASKS[mask](), "offset": 6}
    assert regard.plan(*tensors, **options).backend == "linear"
    found = [regard.attend(*tensors, backend=backend, **options) for backend in ("reference", "linear", "streamed")]
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], **EXACT)


def test_a_query_without_features_sees_nothing() -> None:
    query, key, value = inputs()
    with torch.no_grad():
        query[0, 0, 3] = -query[0, 0, 3].abs()
    for backend in ("reference", "linear", "streamed"):
        context = regard.attend(query, key, value, score=regard.Kernel("relu"), normalize=regard.Sum(), backend=backend)
        assert not context[0, 0, 3].any()
        assert all(g.isfinite().all() for g in torch.autograd.grad(context.sum(), (query, key, value)))


@pytest.mark.parametrize("mask", [regard.Window(3), ~regard.Causal(), regard.Causal() | regard.Prefix(4)], ids=repr)
def test_other_masks_are_computed_pair_by_pair(mask: regard.Mask) -> None:
    tensors = inputs()
    options = {"score": regard.Kernel(), "normalize": regard.Sum(), "mask": mask, "offset": 6}
    plan = regard.plan(*tensors, **options)
    assert plan.backend == "streamed"
    assert plan.others["linear"] == [Feature.MASK.value]
    torch.testing.assert_close(
        regard.attend(*tensors, **options), regard.attend(*tensors, backend="reference", **options), **EXACT
    )


@pytest.mark.parametrize(
    "score",
    [
        regard.ScaledDot(),
        regard.Cosine(4),
        regard.Kernel() + regard.Bias(torch.ones(17)),
        regard.SoftCap(regard.Kernel(), 2.0),
    ],
    ids=repr,
)
def test_sum_goes_with_kernels_alone(score: regard.Score) -> None:
    text = (
        f"Sum divides scores by their sum, so they may not be negative, as {score!r} may be: use it with "
        'score=regard.Kernel("elu+1"), or normalize=regard.Softmax()'
    )
    with refuses(text):
        regard.attend(*inputs(), score=score, normalize=regard.Sum())


def test_feature_maps_have_names() -> None:
    with refuses("unknown feature map 'gelu'; expected one of elu+1, relu"):
        regard.Kernel("gelu")


# Random features


@pytest.mark.parametrize("width", [3, 7])
def test_random_features_approximate_the_exponential(width: int) -> None:
    """Within five standard errors, for every pair.

    With `x = q / width^(1/4)` and `y` likewise, one feature's product has the mean `exp(x.y)` and the variance
    `exp(2 x.y) (exp(|x + y|^2) - 1)`; that of orthogonal directions is not higher (Choromanski et al. 2021).
    """
    count = 4001
    query, key = 0.5 * torch.randn(2, 1, 1, 11, width, **WIDE)
    features = regard.RandomFeatures(width, count).double()
    first, second = (tensor * width**-0.25 for tensor in (query, key))
    exact = (first @ second.mT).exp()
    sums = (first.unsqueeze(-2) + second.unsqueeze(-3)).square().sum(-1)
    error = exact * torch.sqrt(sums.expm1() / count)
    assert float(((features(query) @ features(key).mT - exact).abs() / error).max()) < 5
    scaled = (query @ key.mT / math.sqrt(width)).exp()
    torch.testing.assert_close(exact, scaled, **EXACT)


def test_random_features_are_softmax_in_the_end() -> None:
    query, key, value = (tensor.detach() * 0.5 for tensor in inputs())
    exact = regard.attend(query, key, value)
    errors = []
    for count in (100, 10_000):
        score = regard.Kernel(regard.RandomFeatures(DIM, count).double())
        context = regard.attend(query, key, value, score=score, normalize=regard.Sum())
        errors.append(float((context - exact).square().mean().sqrt()))
    assert 4 < errors[0] / errors[1] < 25  # the error falls with the root of the number


def test_directions_point_everywhere_alike() -> None:
    """Like a normal distribution's: mean and covariance are within five standard errors of 0 and 1."""
    directions = regard.RandomFeatures(3, 9_000).directions.double()
    limit = 5 / math.sqrt(len(directions))
    assert float(directions.mean(0).abs().max()) < limit
    assert float((directions.T @ directions / len(directions) - torch.eye(3, **WIDE)).abs().max()) < 2 * limit


def test_directions_are_orthogonal_and_follow_the_seed() -> None:
    directions = regard.RandomFeatures(7, 17, seed=3).directions.double()
    assert directions.shape == (17, 7)
    for start in (0, 7, 14):
        block = directions[start : start + 7]
        cosines = functional.normalize(block, dim=-1) @ functional.normalize(block, dim=-1).T
        torch.testing.assert_close(cosines, torch.eye(len(block), **WIDE), rtol=0, atol=1e-6)
    assert torch.equal(regard.RandomFeatures(7, 17, seed=3).directions, regard.RandomFeatures(7, 17, seed=3).directions)
    assert not torch.equal(regard.RandomFeatures(7, 17, seed=5).directions.double(), directions)
    state = torch.get_rng_state()
    regard.RandomFeatures(7, 17)
    assert torch.equal(torch.get_rng_state(), state)
