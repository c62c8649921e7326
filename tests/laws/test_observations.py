"""Observations: each against its formula, in plain loops; recording changes nothing."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.scenes import Meaning, Scene, close_of, dtype_of, expressions, few, scenes
from torch import Tensor

import regard
from regard.attention.capabilities import TABLE, Feature
from regard.attention.observations import Entropy, Matrices, TopK
from regard.attention.place import Place

ABLE = [name for name, features in TABLE.items() if Feature.OBSERVE in features]
RECORD = [regard.Weights(), regard.TopK(3), regard.Entropy(), regard.Received(), regard.LogSumExp()]


@st.composite
def calls(draw: st.DrawFn) -> tuple[Scene, Meaning, int, float]:
    """A scene, a mask, the number of kv heads, and the scale of the queries."""
    scene = draw(scenes())
    kv_heads = draw(st.sampled_from([n for n in (1, 2, 3) if scene.heads % n == 0]))
    return scene, draw(expressions(scene)), kv_heads, draw(st.sampled_from((0.3, 1.0, 30.0)))


def tensors_of(scene: Scene, kv_heads: int, scale: float, dtype: torch.dtype) -> list[Tensor]:
    query = scale * torch.randn(scene.batch, scene.heads, scene.queries, 3, dtype=dtype)
    return [query, *torch.randn(2, scene.batch, kv_heads, scene.keys, 3, dtype=dtype)]


@pytest.mark.parametrize("backend", ABLE)
@few
@given(call=calls())
def test_formulas(backend: str, call: tuple[Scene, Meaning, int, float]) -> None:
    scene, drawn, kv_heads, scale = call
    query, key, value = tensors_of(scene, kv_heads, scale, dtype_of(backend))
    close = close_of(backend)
    sees = drawn.matrix(scene)
    _, seen = regard.observe(query, key, value, mask=drawn.mask, offset=scene.offsets, record=RECORD, backend=backend)
    received = torch.zeros(scene.batch, scene.heads, scene.keys, dtype=torch.float64)
    for b in range(scene.batch):
        for h in range(scene.heads):
            for i in range(scene.queries):
                keys = sees[b, h, i].nonzero().flatten().tolist()
                kv_head = h // (scene.heads // kv_heads)
                scores = [float(query[b, h, i] @ key[b, kv_head, j]) / math.sqrt(3) for j in keys]
                top = max(scores, default=0.0)
                total = sum(math.exp(score - top) for score in scores)
                weights = [math.exp(score - top) / total for score in scores]
                expected = dict(zip(keys, weights, strict=True))
                got = seen.weights[b, h, i].tolist()
                assert got == pytest.approx([expected.get(j, 0.0) for j in range(scene.keys)], **close)
                for j, weight in expected.items():
                    received[b, h, j] += weight
                entropy = -sum(weight * math.log(weight) for weight in weights if weight > 0)
                assert float(seen.entropy[b, h, i]) == pytest.approx(entropy, **close)
                lse = top + math.log(total) if keys else -math.inf
                assert float(seen.logsumexp[b, h, i]) == pytest.approx(lse, **close)
                strongest = sorted(keys, key=lambda j: -got[j])[:3]  # Python's sort is stable: ties stay in order
                padding = 3 - len(strongest)
                assert seen.topk.keys[b, h, i].tolist() == strongest + [-1] * padding
                assert seen.topk.weights[b, h, i].tolist() == [got[j] for j in strongest] + [0.0] * padding
    assert seen.received.flatten().tolist() == pytest.approx(received.flatten().tolist(), **close)


@pytest.mark.parametrize("backend", ABLE)
@few
@given(data=st.data())
def test_recording_changes_nothing(backend: str, data: st.DataObject) -> None:
    """The context and its gradients are the same, bit for bit, whatever is recorded.

    On native in all but the last bits: a plain softmax keeps no rows, of which anything could be recorded.
    """
    scene, drawn, kv_heads, scale = data.draw(calls())
    record = data.draw(st.lists(st.sampled_from(RECORD), min_size=1, unique=True))
    probe = torch.randn(scene.batch, scene.heads, scene.queries, 3, dtype=dtype_of(backend))
    options = {"mask": drawn.mask, "offset": scene.offsets, "backend": backend}
    tensors = [tensor.requires_grad_() for tensor in tensors_of(scene, kv_heads, scale, dtype_of(backend))]

    def check(one: Tensor, other: Tensor) -> None:
        if backend == "native":
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
        else:
            assert torch.equal(one, other)

    plain = regard.attend(*tensors, **options)
    context, seen = regard.observe(*tensors, record=record, **options)
    check(context, plain)
    assert list(seen) == [item.name for item in record]
    for one, other in zip(
        torch.autograd.grad((plain * probe).sum(), tensors),
        torch.autograd.grad((context * probe).sum(), tensors),
        strict=True,
    ):
        check(one, other)


def test_they_are_taken_in_float32_from_16_bits() -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 7).bfloat16()
    context, seen = regard.observe(query, key, value, record=RECORD)
    assert context.dtype == torch.bfloat16
    _, wide = regard.observe(query.float(), key.float(), value.float(), record=RECORD)
    for name in ("weights", "entropy", "received", "logsumexp"):
        assert seen[name].dtype == torch.float32
        assert torch.equal(seen[name], wide[name])
    assert seen.topk.keys.dtype == torch.int64


@pytest.mark.parametrize("item", RECORD, ids=repr)
def test_gradients_are_there_where_they_are_said_to_be(item: regard.Observation) -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 7)
    query.requires_grad_()
    (result,) = regard.observe(query, key, value, record=[item])[1].values()
    tensor = result.weights if isinstance(result, regard.TopKeys) else result
    assert tensor.requires_grad == item.has_gradient


# TopK

PLACE = Place(batch=1, heads=1, queries=1, keys=3)


def top_keys(weights: list[float], k: int, allowed: list[bool] | None = None) -> tuple[list, list]:
    row = torch.tensor(weights).view(1, 1, 1, -1)
    mask = None if allowed is None else torch.tensor(allowed).view(1, 1, 1, -1)
    found = TopK(k).of(Matrices(row, row, mask, PLACE))
    return found.keys.flatten().tolist(), found.weights.flatten().tolist()


def test_ties_go_to_the_lower_key() -> None:
    assert top_keys([0.25, 0.25, 0.25, 0.25], 3) == ([0, 1, 2], [0.25, 0.25, 0.25])
    assert top_keys([0.125, 0.5, 0.125, 0.25], 4)[0] == [1, 3, 0, 2]


def test_a_thousand_ties_go_to_the_lower_key() -> None:
    assert top_keys([1 / 1009] * 1009, 5)[0] == [0, 1, 2, 3, 4]


def test_k_wider_than_the_keys() -> None:
    assert top_keys([0.25, 0.75], 5) == ([1, 0, -1, -1, -1], [0.75, 0.25, 0.0, 0.0, 0.0])


def test_missing_keys_are_minus_one_and_weigh_nothing() -> None:
    allowed = [False, True, False, True]
    assert top_keys([0.0, 0.0, 0.0, 1.0], 3, allowed) == ([3, 1, -1], [1.0, 0.0, 0.0])
    assert top_keys([0.0] * 4, 2, [False] * 4) == ([-1, -1], [0.0, 0.0])


def test_no_keys_at_all() -> None:
    query, key, value = torch.randn(1, 2, 5, 3), torch.randn(1, 2, 0, 3), torch.randn(1, 2, 0, 3)
    _, seen = regard.observe(query, key, value, record=RECORD)
    assert seen.topk.keys.tolist() == [[[[-1] * 3] * 5] * 2]
    assert not seen.topk.weights.any()
    assert not seen.entropy.any()
    assert seen.received.shape == (1, 2, 0)
    assert bool((seen.logsumexp == -torch.inf).all())


# Entropy and log-sum-exp


def test_entropy_is_between_nothing_and_ln_n() -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7, dtype=torch.float64)
    zero = torch.zeros_like(query)
    _, uniform = regard.observe(zero, key, value, record=[regard.Entropy()])
    torch.testing.assert_close(uniform.entropy, torch.full((2, 3, 5), math.log(5), dtype=torch.float64))
    _, sharp = regard.observe(1e6 * query, key, value, record=[regard.Entropy()])
    torch.testing.assert_close(sharp.entropy, torch.zeros(2, 3, 5, dtype=torch.float64))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_entropy_is_finite_at_one_hot_rows(dtype: torch.dtype) -> None:
    scores = torch.tensor([0.0, 1e4, -1e4], dtype=dtype).view(1, 1, 1, 3).requires_grad_()
    weights = scores.softmax(-1)
    assert weights.flatten().tolist() == [0.0, 1.0, 0.0]
    Entropy().of(Matrices(scores, weights, None, PLACE)).sum().backward()
    assert scores.grad.tolist() == [[[[0.0, 0.0, 0.0]]]]


def test_gradient_of_entropy_reaches_weights() -> None:
    """`-ln p - 1` at weights that are not zero."""
    weights = torch.tensor([0.125, 0.875, 0.0]).view(1, 1, 1, 3).requires_grad_()
    Entropy().of(Matrices(weights, weights, None, PLACE)).sum().backward()
    first, second, third = weights.grad.flatten().tolist()
    assert [first, second] == pytest.approx([-math.log(0.125) - 1, -math.log(0.875) - 1])
    assert math.isfinite(third)


def test_empty_rows_have_no_log_sum_exp_and_no_gradient() -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7, dtype=torch.float64)
    query.requires_grad_()
    mask = regard.Lengths([5, 0])
    _, seen = regard.observe(query, key, value, mask=mask, record=[regard.LogSumExp()])
    assert seen.logsumexp[0].isfinite().all()
    assert bool((seen.logsumexp[1] == -torch.inf).all())
    seen.logsumexp.sum().backward()
    assert query.grad[0].any()
    assert not query.grad[1].any()


def test_log_sum_exp_is_of_the_scores_as_they_are() -> None:
    """Terms are in it; the temperature of the normaliser is not."""
    query, key, value = torch.randn(3, 2, 3, 5, 7, dtype=torch.float64)
    bias = torch.randn(5, 5, dtype=torch.float64)
    score = regard.Dot() + regard.Bias(bias)
    _, seen = regard.observe(query, key, value, score=score, normalize=regard.Softmax(3.0), record=[regard.LogSumExp()])
    torch.testing.assert_close(seen.logsumexp, (query @ key.mT + bias).logsumexp(-1))
