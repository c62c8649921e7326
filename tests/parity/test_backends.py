"""Every backend computes what the oracle does, within a derived tolerance, or says what it lacks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.scenes import Meaning, Scene
from tests.parity.cases import Case, cases
from tests.parity.oracle import Precision, answer
from torch import Tensor

import regard
from regard.attention import capabilities
from regard.attention.call import checked_call
from regard.attention.capabilities import TABLE, Feature
from regard.attention.lowering import lower_mask
from regard.attention.padding import shares_keys
from regard.attention.place import Place
from regard.ops.native import in_use

# `linear` divides by a sum: tests/laws/test_similarities.py holds it to the reference.
OF_SOFTMAX = [name for name, features in TABLE.items() if Feature.SOFTMAX in features]
DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def dtypes_of(backend: str) -> list[torch.dtype]:
    absent = {torch.float64: Feature.FLOAT64, torch.float16: Feature.FLOAT16}
    return [dtype for dtype in DTYPES if dtype not in absent or absent[dtype] in TABLE[backend]]


SCENE = Scene(batch=2, heads=6, queries=5, keys=7)
CAUSAL = Meaning(regard.Causal, lambda b, h, i, j: j <= i)
PREFIX = Meaning(lambda: regard.Prefix(3), lambda b, h, i, j: j < 3)
BOARD = (torch.arange(5)[:, None] + torch.arange(7)) % 2 == 0
CHESS = Meaning(lambda: regard.Dense(BOARD), lambda b, h, i, j: (i + j) % 2 == 0)


def precision(backend: str, dtype: torch.dtype, case: Case) -> Precision:
    """What a backend promises: 16-bit inputs are computed in float32 and rounded once, but where products of pairs
    are fast."""
    inner = torch.promote_types(dtype, torch.float32)
    if case.prepared and case.kind == "additive":  # keys that are projected once are stored as keys
        return Precision(inner=inner, stored=dtype, returned=dtype)
    if backend == "sdpa":  # stores weights and projections in 16 bits; its exponential is good to 20 units
        return Precision(inner=inner, stored=dtype, returned=dtype, exponential=20.0)
    if backend == "native":  # has no weights below the smallest normal number
        pairs = dtype == torch.bfloat16 and in_use() == "avx512_bf16"  # such products are of pairs of bfloat16
        tiny = torch.finfo(torch.float32).tiny
        return Precision(inner=inner, stored=dtype if pairs else inner, returned=dtype, underflow=tiny)
    return Precision(inner=inner, stored=inner, returned=dtype)


def missing(case: Case, backend: str, dtype: torch.dtype) -> list[str]:
    """What the table says that a backend lacks for this case, from the case's own words."""
    intervals = case.mask is None or lower_mask(case.mask.mask, case.scene.place()).bounds is not None
    features = {
        Feature.DOT: case.kind in ("dot", "scaled", "scale", "general", "capped"),
        Feature.ADDITIVE: case.kind == "additive",
        Feature.PAIRS: case.kind == "unfused",
        Feature.SOFT_CAP: case.kind == "capped",
        Feature.BIAS: case.bias is not None and case.kind != "unfused",
        Feature.TERM_GRADIENT: case.bias is not None and case.bias_gradient and case.kind != "unfused",
        Feature.SOFTMAX: True,
        Feature.SHARED_MASK: case.mask is not None and shares_keys(case.mask.mask),
        Feature.MASK: case.mask is not None and not shares_keys(case.mask.mask) and intervals,
        Feature.PATTERN: not intervals,
        Feature.FLOAT64: dtype == torch.float64,
        Feature.FLOAT16: dtype == torch.float16,
        Feature.GROUPED_HEADS: case.kv_heads != case.scene.heads,
        Feature.VALUE_WIDTH: case.value_dim != case.query_dim,
    }
    return sorted(feature.value for feature, needed in features.items() if needed and feature not in TABLE[backend])


def compare(case: Case, backend: str, dtype: torch.dtype, device: str = "cpu") -> None:
    """The context and every gradient, entry by entry."""
    tensors = case.tensors(dtype)
    expected = answer(case, tensors, precision(backend, dtype, case))
    if device != "cpu":
        tensors = {name: each.detach().to(device).requires_grad_(each.requires_grad) for name, each in tensors.items()}
    context = case.attend(tensors, backend=backend)
    assert context.dtype == dtype
    leaves = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    gradients = torch.autograd.grad(context, list(leaves.values()), tensors["probe"], allow_unused=True)
    given_: dict[str, Tensor | None] = {
        "context": context.detach(),
        **dict(zip(leaves, gradients, strict=True)),
    }
    for name, value in expected.values.items():
        got = given_[name]
        error = (torch.zeros_like(value) if got is None else got.double().cpu()) - value
        allowed = expected.tolerances[name]
        off = [
            (e, t) for e, t in zip(error.flatten().tolist(), allowed.flatten().tolist(), strict=True) if not abs(e) <= t
        ]
        assert not off, f"{name} on {backend} in {dtype}: error and tolerance {off[:3]}"


@pytest.mark.parametrize("backend", TABLE)
@settings(max_examples=100)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_any_call_is_the_oracle_s_or_is_refused(backend: str, case: Case, dtype: torch.dtype) -> None:
    lacks = missing(case, backend, dtype)
    if lacks:
        with pytest.raises(ValueError, match=f'backend "{backend}" lacks') as caught:
            case.attend(case.tensors(dtype), backend=backend)
        assert all(feature in str(caught.value) for feature in lacks)
    else:
        compare(case, backend, dtype)


# One call for each row of the table: what it needs and nothing else that a backend may lack

ROWS: dict[Feature, Case] = {
    Feature.DOT: Case(scene=SCENE, kind="general", kv_heads=6),
    Feature.ADDITIVE: Case(scene=SCENE, kind="additive", kv_heads=6),
    Feature.PAIRS: Case(scene=SCENE, kind="unfused", kv_heads=6),
    Feature.SOFT_CAP: Case(scene=SCENE, kind="capped", kv_heads=6),
    Feature.BIAS: Case(scene=SCENE, kv_heads=6, bias=(6, 1, 7), bias_gradient=False),
    Feature.TERM_GRADIENT: Case(scene=SCENE, kv_heads=6, bias=(2, 1, 5, 7)),
    Feature.SOFTMAX: Case(scene=SCENE, kv_heads=6, temperature=0.7),
    Feature.SHARED_MASK: Case(scene=SCENE, kv_heads=6, mask=CAUSAL),
    Feature.MASK: Case(scene=SCENE, kv_heads=6, mask=PREFIX),
    Feature.PATTERN: Case(scene=SCENE, kv_heads=6, mask=CHESS),
    Feature.GROUPED_HEADS: Case(scene=SCENE, kv_heads=2),
    Feature.VALUE_WIDTH: Case(scene=SCENE, kv_heads=6, value_dim=11),
}
ELSEWHERE = {  # tested by name below, or in tests/laws
    Feature.OTHER_NORMALIZER,
    Feature.DROPOUT,
    Feature.OBSERVE,
    Feature.OTHER_OBSERVATION,
    Feature.SECOND_DERIVATIVES,
    Feature.HIDDEN_NAN,
    Feature.KERNEL,
    Feature.POSITION,
    Feature.SINK,
    Feature.SIGMOID,
    Feature.SPARSE,
    Feature.ENTMAX,
    Feature.OTHER_TERM,
    Feature.LARGE_PATTERN,
    Feature.HARD,
    Feature.SUM,
    Feature.LARGE,
    Feature.FLOAT64,
    Feature.FLOAT16,
    Feature.ACCELERATOR,
    Feature.EXPORT,
    Feature.TRANSFORM,
    Feature.LINEAR_MEMORY,
    Feature.LINEAR_TIME,
}


def test_every_row_of_the_table_has_a_test() -> None:
    assert ROWS.keys() | ELSEWHERE == set(Feature)
    assert not ROWS.keys() & ELSEWHERE
    assert TABLE["reference"] == set(Feature) - {Feature.LINEAR_MEMORY, Feature.LINEAR_TIME}
    assert TABLE["streamed"] == set(Feature) - {Feature.LINEAR_TIME}, "nothing of the mechanism is missing"


@pytest.mark.parametrize("backend", TABLE)
@pytest.mark.parametrize("feature", ROWS, ids=lambda feature: feature.name)
def test_row(feature: Feature, backend: str) -> None:
    case = ROWS[feature]
    tensors = case.tensors(torch.float32)
    call = checked_call(
        tensors["query"],
        tensors["key"],
        tensors["value"],
        score=case.score(tensors),
        normalize=regard.Softmax(case.temperature),
        mask=None if case.mask is None else case.mask.mask,
        offset=0,
        dropout=0.0,
        record={},
    )
    assert feature in capabilities.needs(call)
    assert (feature in TABLE[backend]) == (feature.value not in capabilities.lacks(call, backend))
    if missing(case, backend, torch.float32):
        with pytest.raises(ValueError, match="lacks what this call needs") as caught:
            case.attend(tensors, backend=backend)
        assert (feature.value in str(caught.value)) == (feature not in TABLE[backend])
    else:
        for dtype in dtypes_of(backend):
            compare(case, backend, dtype)


class Uniform(regard.Normalizer):
    """Equal shares, whatever the scores."""

    def weights(self, scores: Tensor, allowed: Tensor | None, place: Place | None = None, seed: int = 0) -> Tensor:
        shares = torch.ones_like(scores) if allowed is None else allowed.expand_as(scores).to(scores.dtype)
        return shares / shares.sum(-1, keepdim=True).clamp_min(1)


@pytest.mark.parametrize("backend", TABLE)
def test_row_of_other_normalizers(backend: str) -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7, dtype=torch.float64)
    options = {"normalize": Uniform(), "mask": regard.Causal(), "backend": backend}
    if Feature.OTHER_NORMALIZER in TABLE[backend]:
        expected = value.cumsum(-2) / torch.arange(1, 6).view(5, 1)
        torch.testing.assert_close(regard.attend(query, key, value, **options), expected)
    else:
        with pytest.raises(ValueError, match=Feature.OTHER_NORMALIZER.value):
            regard.attend(query, key, value, **options)


@pytest.mark.parametrize("backend", OF_SOFTMAX)
def test_row_of_dropout(backend: str) -> None:
    """Which weights fall is a matter of tests/laws/test_dropout.py."""
    query, key, value = torch.randn(3, 2, 3, 5, 7)
    if Feature.DROPOUT in TABLE[backend]:
        assert regard.attend(query, key, value, dropout=0.5, backend=backend).isfinite().all()
    else:
        with pytest.raises(ValueError, match=f"lacks what this call needs: {Feature.DROPOUT.value}"):
            regard.attend(query, key, value, dropout=0.5, backend=backend)


@pytest.mark.parametrize("backend", OF_SOFTMAX)
def test_row_of_observations(backend: str) -> None:
    """What they are is a matter of tests/laws/test_observations.py."""
    query, key, value = torch.randn(3, 2, 3, 5, 7)
    if Feature.OBSERVE in TABLE[backend]:
        _, seen = regard.observe(query, key, value, record=[regard.TopK(2)], backend=backend)
        assert seen.topk.keys.shape == (2, 3, 5, 2)
    else:
        with pytest.raises(ValueError, match=f"lacks what this call needs: {Feature.OBSERVE.value}"):
            regard.observe(query, key, value, record=[regard.TopK(2)], backend=backend)


@pytest.mark.parametrize("backend", OF_SOFTMAX)
def test_row_of_second_derivatives(backend: str) -> None:
    """Right where they are promised (tests/laws/test_derivatives.py); elsewhere an error, and never a wrong number."""
    dtype = dtypes_of(backend)[0]
    query, key, value = (torch.randn(2, 3, 5, 7, dtype=dtype, requires_grad=True) for _ in range(3))
    context = regard.attend(query, key, value, backend=backend)
    (gradient,) = torch.autograd.grad(context.square().sum(), query, create_graph=True)
    if Feature.SECOND_DERIVATIVES in TABLE[backend]:
        assert torch.autograd.grad(gradient.sum(), key)[0].any()
    else:
        with pytest.raises(RuntimeError, match=r"not implemented|has no second derivatives"):
            torch.autograd.grad(gradient.sum(), key)


# Extremes


@pytest.mark.parametrize("backend", OF_SOFTMAX)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
def test_huge_logits(backend: str, dtype: torch.dtype, masked: bool) -> None:
    """Scores of the order of 1e4 neither overflow nor turn into NaN."""
    if dtype not in dtypes_of(backend):
        return
    case = Case(scene=SCENE, kind="dot", kv_heads=6, magnitude=60.0, mask=CAUSAL if masked else None, value_dim=3)
    tensors = case.tensors(dtype)
    scores = tensors["query"].detach().double() @ tensors["key"].detach().double().mT
    assert float(scores.abs().max()) > 1e4
    compare(case, backend, dtype)


@pytest.mark.parametrize("backend", OF_SOFTMAX)
@pytest.mark.parametrize("queries", [1, 13])
@pytest.mark.parametrize("offset", [0, 3, -2, [4, -1]], ids=str)
def test_every_offset_of_a_causal_mask(backend: str, queries: int, offset: int | list[int]) -> None:
    """The masks for which fused kernels have short cuts."""
    scene = Scene(batch=2, heads=2, queries=queries, keys=13, offset=offset)
    mask = Meaning(regard.Causal, lambda b, h, i, j: j <= scene.stand(b, i))
    for dtype in dtypes_of(backend):
        compare(Case(scene=scene, kv_heads=2, mask=mask), backend, dtype)


@pytest.mark.parametrize("backend", OF_SOFTMAX)
def test_strided_inputs(backend: str) -> None:
    """Transposed and sliced tensors, as a layer's projections are."""
    dtype = dtypes_of(backend)[0]
    query, key, value = torch.randn(2, 5, 3, 3, 7, dtype=dtype).permute(3, 0, 2, 1, 4)[:, ..., 1:6]
    assert not query.is_contiguous()
    mask = regard.Causal()
    torch.testing.assert_close(
        regard.attend(query, key, value, mask=mask, backend=backend),
        regard.attend(*(tensor.contiguous() for tensor in (query, key, value)), mask=mask, backend=backend),
        rtol=10 * torch.finfo(dtype).eps,
        atol=10 * torch.finfo(dtype).eps,
    )


# Which backend runs


def test_an_unknown_backend_names_the_known() -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7)
    names = ", ".join(f'"{name}"' for name in ("auto", *TABLE))
    with pytest.raises(ValueError, match=f'unknown backend "fast"; expected one of {names}'):
        regard.attend(query, key, value, backend="fast")


@pytest.mark.parametrize("length", [17, 101])
def test_auto_is_one_of_those_that_can(length: int) -> None:
    """Whichever runs, at any size: the call is the same as on the backend that `plan` names."""
    query, key, value = torch.randn(3, 1, 2, length, 7)
    for options in ({}, {"mask": regard.Causal()}, {"score": regard.SoftCap(regard.ScaledDot(), 3.0)}):
        chosen = regard.plan(query, key, value, **options).backend
        named = regard.attend(query, key, value, backend=chosen, **options)
        assert torch.equal(regard.attend(query, key, value, **options), named)
