"""The fused output projection and loss is the plain one, with the plain one's gradients."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from regard.ops import cross_entropy, native
from regard.ops.cross_entropy import linear_cross_entropy

ROWS = cross_entropy._ROWS
IGNORE = -100


def draw(rows: int, dim: int = 5, vocabulary: int = 11, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Hidden states, output weights (leaves with gradient) and targets."""
    hidden, weight = (torch.randn(size, dim, dtype=dtype).requires_grad_() for size in (rows, vocabulary))
    return [hidden, weight, torch.randint(vocabulary, (rows,))]


def plain(hidden: Tensor, weight: Tensor, target: Tensor, *, smoothing: float = 0.0, ignore: int = IGNORE) -> Tensor:
    return functional.cross_entropy(hidden @ weight.T, target, ignore_index=ignore, label_smoothing=smoothing)


def compare(hidden: Tensor, weight: Tensor, target: Tensor, *, smoothing: float = 0.0, ignore: int = IGNORE) -> None:
    ours = linear_cross_entropy(hidden, weight, target, label_smoothing=smoothing, ignore=ignore)
    theirs = plain(hidden, weight, target, smoothing=smoothing, ignore=ignore)
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    for one, other in zip(
        torch.autograd.grad(3 * ours, (hidden, weight)), torch.autograd.grad(3 * theirs, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, ROWS - 1, ROWS, ROWS + 1, 2 * ROWS, 2 * ROWS + 3])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_blocks_of_rows(rows: int, smoothing: float) -> None:
    compare(*draw(rows), smoothing=smoothing)


@settings(max_examples=25)
@given(
    rows=st.integers(1, 23),
    dim=st.sampled_from((1, 3, 7)),
    vocabulary=st.sampled_from((1, 2, 13)),
    smoothing=st.sampled_from((0.0, 0.1, 0.5, 0.99)),
    scale=st.sampled_from((1.0, 100.0)),
    block=st.integers(1, 7),
)
def test_any_shape(rows: int, dim: int, vocabulary: int, smoothing: float, scale: float, block: int) -> None:
    hidden, weight, target = draw(rows, dim, vocabulary)
    hidden = (scale * hidden).detach().requires_grad_()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_entropy, "_ROWS", block)
        compare(hidden, weight, target, smoothing=smoothing)


@pytest.mark.parametrize("ignore", [IGNORE, 0])
def test_ignored_rows_count_for_nothing(ignore: int) -> None:
    hidden, weight, target = draw(2 * ROWS + 3)
    target[::3] = ignore
    target[ROWS : 2 * ROWS] = ignore
    compare(hidden, weight, target, smoothing=0.1, ignore=ignore)
    loss = linear_cross_entropy(hidden, weight, target, ignore=ignore)
    (gradient,) = torch.autograd.grad(loss, hidden)
    assert not gradient[target == ignore].any()
    kept = target != ignore
    again = linear_cross_entropy(hidden[kept], weight, target[kept], ignore=IGNORE)
    torch.testing.assert_close(again, loss, rtol=1e-14, atol=0)


def test_nan_in_ignored_rows_reaches_nothing() -> None:
    hidden, weight, target = draw(7)
    target[3] = IGNORE
    dirty = hidden.detach().clone()
    dirty[3] = torch.nan
    dirty.requires_grad_()
    loss = linear_cross_entropy(dirty, weight, target)
    assert torch.equal(loss, linear_cross_entropy(hidden, weight, target))
    gradients = torch.autograd.grad(loss, (dirty, weight))
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("rows", [0, 5])
def test_nothing_counted_is_nothing(rows: int) -> None:
    hidden, weight, target = draw(rows)
    loss = linear_cross_entropy(hidden, weight, target.fill_(IGNORE), label_smoothing=0.1)
    assert loss.item() == 0.0
    gradients = torch.autograd.grad(loss, (hidden, weight))
    assert not any(gradient.any() for gradient in gradients)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradients_against_finite_differences(smoothing: float) -> None:
    hidden, weight, target = draw(5, 3, 7)
    target[2] = IGNORE
    assert torch.autograd.gradcheck(
        lambda hidden, weight: linear_cross_entropy(hidden, weight, target, label_smoothing=smoothing), (hidden, weight)
    )


def test_by_hand() -> None:
    """Probabilities 1/8, 2/8 and 5/8, the last the target: `-ln(5/8)`, and a tenth of the mean of all three."""
    hidden = torch.ones(1, 1, dtype=torch.float64)
    weight = torch.tensor([[1.0], [2.0], [5.0]], dtype=torch.float64).log()
    target = torch.tensor([2])
    logs = torch.tensor([1 / 8, 2 / 8, 5 / 8], dtype=torch.float64).log()
    assert linear_cross_entropy(hidden, weight, target).item() == pytest.approx(-logs[2].item(), rel=1e-14)
    smoothed = linear_cross_entropy(hidden, weight, target, label_smoothing=0.1)
    assert smoothed.item() == pytest.approx(-(0.9 * logs[2] + 0.1 * logs.mean()).item(), rel=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_as_near_to_float64_as_the_plain_loss(dtype: torch.dtype) -> None:
    """16-bit logits are normalised and summed in float32, and gradients return in the dtype of their tensors."""
    hidden, weight, target = draw(ROWS + 3, 17, 31, dtype)
    exact_leaves = [tensor.detach().double().requires_grad_() for tensor in (hidden, weight)]
    exact = plain(*exact_leaves, target, smoothing=0.1)
    ours = linear_cross_entropy(hidden, weight, target, label_smoothing=0.1)
    theirs = functional.cross_entropy((hidden @ weight.T).float(), target, label_smoothing=0.1)
    assert ours.dtype == torch.float32
    results = [
        (loss, *torch.autograd.grad(loss, leaves))
        for loss, leaves in ((exact, exact_leaves), (ours, (hidden, weight)), (theirs, (hidden, weight)))
    ]
    assert [tensor.dtype for tensor in results[1][1:]] == [dtype, dtype]
    for right, one, other in zip(*results, strict=True):
        rounding = torch.finfo(dtype).eps * right.abs().max()
        assert (one - right).abs().max() <= 2 * (other - right).abs().max() + rounding


def test_huge_logits() -> None:
    hidden, weight, target = draw(5)
    hidden = (1e4 * hidden).detach().requires_grad_()
    compare(hidden, weight, target, smoothing=0.1)


def test_only_what_needs_a_gradient_gets_one() -> None:
    hidden, weight, target = draw(7)
    frozen = weight.detach()
    (expected,) = torch.autograd.grad(plain(hidden, frozen, target), hidden)
    (gradient,) = torch.autograd.grad(linear_cross_entropy(hidden, frozen, target), hidden)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)
    (expected,) = torch.autograd.grad(plain(hidden.detach(), weight, target), weight)
    (gradient,) = torch.autograd.grad(linear_cross_entropy(hidden.detach(), weight, target), weight)
    torch.testing.assert_close(gradient, expected, rtol=1e-12, atol=1e-12)


def test_evaluation_computes_no_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    hidden, weight, target = draw(7)
    expected = linear_cross_entropy(hidden, weight, target)
    monkeypatch.setattr(torch, "mm", None)
    monkeypatch.setattr(Tensor, "addmm_", None)
    with torch.no_grad():
        loss = linear_cross_entropy(hidden, weight, target)
    assert torch.equal(loss, expected)
    assert not loss.requires_grad


@pytest.mark.parametrize("given_", [torch.float32, torch.bfloat16])
def test_autocast_casts_as_it_does_for_a_linear_layer(given_: torch.dtype) -> None:
    hidden, weight, target = draw(7, dtype=torch.float32)
    cast = hidden.detach().to(given_).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = linear_cross_entropy(cast, weight, target)
    loss.backward()
    expected = linear_cross_entropy(hidden.bfloat16(), weight.bfloat16(), target)
    assert torch.equal(loss, expected)
    assert cast.grad.dtype == given_
    assert weight.grad.dtype == torch.float32


def test_second_derivatives_are_refused() -> None:
    hidden, weight, target = draw(5)
    loss = linear_cross_entropy(hidden, weight, target)
    (gradient,) = torch.autograd.grad(loss.square(), hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


# Errors


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, float("nan")])
def test_smoothing_is_a_share(smoothing: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"label_smoothing must be in [0, 1), got {smoothing}")):
        linear_cross_entropy(*draw(5), label_smoothing=smoothing)


@pytest.mark.parametrize(
    ("hidden", "weight", "target"), [((5, 3), (7, 3), (6,)), ((5, 3), (7, 2), (5,))], ids=["rows", "width"]
)
def test_shapes_fit(
    hidden: tuple[int, ...], weight: tuple[int, ...], target: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jaxtyping.config.jaxtyping_disable", True)
    text = (
        f"expected hidden (rows, dim), weight (vocabulary, dim) and target (rows,), got {hidden}, {weight} and {target}"
    )
    with pytest.raises(ValueError, match=re.escape(text)):
        linear_cross_entropy(torch.randn(hidden), torch.randn(weight), torch.zeros(target, dtype=torch.int64))


# The native kernels

NATIVE = pytest.mark.skipif(bool(native.ABSENT), reason=f"native: {native.ABSENT}")


@NATIVE
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "dim", "vocabulary"), [(1, 1, 1), (ROWS + 5, 20, 401), (3 * ROWS, 64, 1000)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_kernels_are_the_plain_computation(
    dtype: torch.dtype, rows: int, dim: int, vocabulary: int, smoothing: float
) -> None:
    hidden, weight, target = (tensor.detach() for tensor in draw(rows, dim, vocabulary, dtype))
    found = cross_entropy.operator(hidden, weight, target, smoothing, True, True)
    right = cross_entropy.plain(hidden.double(), weight.double(), target, smoothing, True, True)
    # Where bfloat16 is multiplied in pairs, what is left of a row's softmax is rounded to it: 2^-9 of 1 / rows at most.
    pairs = dtype == torch.bfloat16 and native.in_use() == "avx512_bf16"
    most = max(float(hidden.abs().max()), float(weight.abs().max())) / (512 * rows) if pairs else 0.0
    for one, exact in zip(found, right, strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one.double(), exact, rtol=1e-4, atol=2e-6 + 2 * most)


@NATIVE
def test_the_number_of_threads_changes_no_bit() -> None:
    hidden, weight, target = (tensor.detach() for tensor in draw(2 * ROWS, 32, 3000, torch.float32))
    threads = torch.get_num_threads()
    results = []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            results.append(cross_entropy.operator(hidden, weight, target, 0.1, True, True))
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(one, two) for one, two in zip(results[0], other, strict=True))


@NATIVE
def test_kernels_where_nothing_counts() -> None:
    hidden, weight, target = draw(5, dtype=torch.float32)
    loss = linear_cross_entropy(hidden, weight, target.fill_(IGNORE))
    assert loss.item() == 0.0
    assert not any(gradient.any() for gradient in torch.autograd.grad(loss, (hidden, weight)))


@NATIVE
def test_nan_stays_in_its_row_of_the_hidden_gradient() -> None:
    hidden, weight, target = (tensor.detach() for tensor in draw(40, dtype=torch.float32))
    hidden[3, 1] = torch.nan
    loss, of_hidden, _ = cross_entropy.operator(hidden, weight, target, 0.1, True, True)
    assert loss.isnan()
    assert of_hidden.isnan().any(-1).nonzero().flatten().tolist() == [3]


@NATIVE
@pytest.mark.parametrize("wrong", [-1, 11])
def test_a_target_is_a_token(wrong: int) -> None:
    hidden, weight, target = draw(5, dtype=torch.float32)
    target[2] = wrong
    with pytest.raises(IndexError, match=r"targets are from .* and there are 11 tokens"):
        linear_cross_entropy(hidden, weight, target)


@NATIVE
def test_it_is_an_operator_of_torch() -> None:
    hidden, weight, target = (tensor.detach() for tensor in draw(7, dtype=torch.float32))
    torch.library.opcheck(cross_entropy.operator, (hidden, weight, target, 0.1, True, False))
