"""Calls like one that was checked before: the same results, and nothing that decides is passed over."""

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

import regard
from regard.attention import routes

pytestmark = [pytest.mark.requires("native"), pytest.mark.usefixtures("unchecked")]


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "_routes", {})


def draw(length: int = 11, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    return tuple(torch.randn(2, 3, length, 7, dtype=dtype) for _ in range(3))


def known() -> int:
    return len(routes._routes)


@pytest.mark.parametrize("mask", [None, regard.Causal(), regard.Lengths([5, 0])], ids=repr)
@pytest.mark.parametrize("score", [None, regard.Dot(), regard.ScaledDot(0.3)], ids=repr)
def test_the_second_call_is_the_first(mask: regard.Mask | None, score: regard.Score | None) -> None:
    tensors = [tensor.requires_grad_() for tensor in draw()]
    found = []
    for _ in range(2):
        context = regard.attend(*tensors, mask=mask, score=score)
        found.append((context, *torch.autograd.grad(context.square().sum(), tensors)))
        assert known() == 1
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)
    expected = regard.attend(*tensors, mask=mask, score=score, backend="reference")
    torch.testing.assert_close(found[1][0], expected)


def test_masks_of_equal_meaning_share_a_route() -> None:
    tensors = draw()
    for _ in range(3):
        regard.attend(*tensors, mask=regard.Causal() & regard.Window(3))
    assert known() == 1


def test_what_decides_is_told_apart() -> None:
    query, key, value = draw()
    calls = [
        {"mask": regard.Causal()},
        {"mask": regard.Causal(), "offset": 2},
        {"mask": regard.Window(3)},
        {"score": regard.ScaledDot(0.5)},
        {"score": regard.Dot()},
        {},
    ]
    for _ in range(2):
        for call in calls:
            expected = regard.attend(query, key, value, backend="reference", **call)
            torch.testing.assert_close(regard.attend(query, key, value, **call), expected)
    assert known() == len(calls)
    for shorter in (value[..., :5], value.bfloat16()):
        if shorter.dtype == value.dtype:
            assert regard.attend(query, key, shorter).shape[-1] == 5
        else:
            with pytest.raises(TypeError, match="must share a dtype"):
                regard.attend(query, key, shorter)


@pytest.mark.filterwarnings("ignore:.*torch.jit.trace.* is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_nothing_is_passed_over() -> None:
    query, key, value = draw()
    plain = regard.attend(query, key, value)
    torch.manual_seed(1)
    assert not torch.equal(regard.attend(query, key, value, dropout=0.5), plain)
    module = torch.nn.Module()
    module.forward = lambda: regard.attend(query, key, value)
    with regard.watch(module, regard.Entropy()) as seen:
        module()
    assert seen[""].entropy.shape == (2, 3, 11)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert regard.attend(query, key, value).dtype == torch.bfloat16
    with pytest.raises(ValueError, match="must have 4 dimensions"):
        regard.attend(query[0], key, value)
    assert regard.plan(query, key, value, backend="sdpa").backend == "sdpa"
    assert torch.func.grad(lambda query: regard.attend(query, key, value).square().sum())(query).any()
    traced = torch.jit.trace(lambda query: regard.attend(query, key, value), query, check_trace=False)
    torch.testing.assert_close(traced(2 * query), regard.attend(2 * query, key, value))
    with FakeTensorMode() as fake:
        shapes = [fake.from_tensor(tensor) for tensor in (query, key, value)]
        assert regard.attend(*shapes).shape == plain.shape


def test_only_the_last_calls_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "KEPT", 3)
    for length in range(1, 9):
        regard.attend(*draw(length))
    assert known() == 3
