"""Dropout in a residual path is the plain composition, given what the contract keeps; so are its gradients."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from regard.ops import residual
from regard.ops.native import runs
from regard.ops.random import keep
from regard.ops.residual import add_dropout, add_dropout_norm, dropout

SEED, P = 1099511627783, 0.3
WIDTHS = (*range(1, 41), 128, 512)
HALF, SINGLE, DOUBLE = torch.bfloat16, torch.float32, torch.float64
NATIVE = pytest.mark.requires("native")


def factor(shape: tuple[int, ...], p: float = P, seed: int = SEED) -> Tensor:
    """What each feature is multiplied by, in float64: the contract, with rows for queries and features for keys."""
    width = shape[-1] if shape else 1
    rows, columns, nothing = torch.arange(math.prod(shape) // max(width, 1)), torch.arange(width), torch.tensor(0)
    return keep(seed, p, nothing, nothing, rows.unsqueeze(-1), columns).view(shape).double() / (1 - p)


def draw(shape: tuple[int, ...], dtype: torch.dtype = SINGLE) -> list[Tensor]:
    """Inputs, branch, weight and bias."""
    tensors = [torch.randn(size) for size in (shape, shape, shape[-1:], shape[-1:])]
    return [tensor.to(dtype).requires_grad_() for tensor in tensors]


def fused(inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return add_dropout_norm(inputs, branch, weight, bias, p=P, seed=SEED)


def plain(inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    total = inputs + branch * factor(tuple(branch.shape)).to(branch.dtype)
    return functional.layer_norm(total, weight.shape, weight, bias)


def results(function: Callable[..., Tensor], leaves: list[Tensor], gradient: Tensor) -> list[Tensor]:
    found = function(*leaves)
    return [found, *torch.autograd.grad(found, leaves, gradient.to(found.dtype))]


def exactly(leaves: list[Tensor]) -> list[Tensor]:
    return [tensor.detach().double().requires_grad_() for tensor in leaves]


@pytest.mark.parametrize("dtype", [SINGLE, HALF, DOUBLE, torch.float16])
@pytest.mark.parametrize("shape", [(), (1,), (7, 0), (0, 7), (2, 3, 5), (13, 17), (67, 40), (3, 9001)])
def test_dropped_is_what_the_contract_names(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    branch = torch.ones(shape, dtype=dtype, requires_grad=True)
    found = dropout(branch, p=P, seed=SEED)
    assert (found.dtype, found.shape) == (dtype, branch.shape)
    assert torch.equal(found != 0, factor(shape) != 0)
    torch.testing.assert_close(found, factor(shape).to(dtype))
    (gradient,) = torch.autograd.grad(found.sum(), branch)
    assert torch.equal(gradient, found)


def test_it_is_the_same_with_and_without_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    leaves = draw((5, 3, 11))
    gradient = torch.randn(5, 3, 11)
    first = results(fused, leaves, gradient)
    monkeypatch.setattr("regard.ops.native.ABSENT", "for once")
    for one, other in zip(first, results(fused, leaves, gradient), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("width", WIDTHS)
def test_any_width(width: int) -> None:
    leaves, gradient = draw((37, width)), torch.randn(37, width)
    exact = exactly(leaves)
    expected = results(lambda inputs, branch: inputs + branch * factor((37, width)), exact[:2], gradient)
    found = results(lambda inputs, branch: add_dropout(inputs, branch, p=P, seed=SEED), leaves[:2], gradient)
    torch.testing.assert_close(found, [tensor.float() for tensor in expected])
    if width > 1:  # of one feature the variance is 0, and what is normed is rounding
        expected = results(plain, exact, gradient)
        for one, right in zip(results(fused, leaves, gradient), expected, strict=True):
            torch.testing.assert_close(one.double(), right, rtol=2e-5, atol=2e-4)


@settings(max_examples=25)
@given(
    rows=st.integers(0, 300),
    width=st.integers(2, 70),
    p=st.sampled_from((0.0, 2**-31, 0.1, 0.5, 0.9)),
    seed=st.integers(-(2**63), 2**63 - 1),
    affine=st.sampled_from(((True, True), (True, False), (False, False))),
)
def test_any_call(rows: int, width: int, p: float, seed: int, affine: tuple[bool, bool]) -> None:
    leaves, gradient = draw((rows, width)), torch.randn(rows, width)
    scale = factor((rows, width), p, seed)

    def composed(inputs: Tensor, branch: Tensor, *given_: Tensor) -> Tensor:
        return functional.layer_norm(inputs + branch * scale, (width,), *given_, eps=1e-2)

    def ours(inputs: Tensor, branch: Tensor, *given_: Tensor) -> Tensor:
        weight, bias = (*given_, None, None)[:2]
        return add_dropout_norm(inputs, branch, weight, bias, p=p, seed=seed, eps=1e-2)

    leaves = leaves[: 2 + sum(affine)]
    for one, right in zip(results(ours, leaves, gradient), results(composed, exactly(leaves), gradient), strict=True):
        torch.testing.assert_close(one.double(), right, rtol=2e-5, atol=2e-4)


def test_by_hand() -> None:
    """A seed that keeps the first of two features and drops the second, at a half: 1 + 2 * 3 and 5; normed 1 and -1."""
    seed = next(seed for seed in range(99) if factor((1, 2), 0.5, seed).tolist() == [[2, 0]])
    inputs, branch = torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0, 9.0]])
    assert dropout(branch, p=0.5, seed=seed).tolist() == [[6, 0]]
    assert add_dropout(inputs, branch, p=0.5, seed=seed).tolist() == [[7, 5]]
    normed = add_dropout_norm(
        inputs, branch, torch.tensor([2.0, 3.0]), torch.tensor([0.5, 0.25]), p=0.5, seed=seed, eps=0.0
    )
    torch.testing.assert_close(normed, torch.tensor([[2.5, -2.75]]))


@pytest.mark.parametrize("p", [0.1, 0.5, 0.75])
def test_features_are_dropped_independently_and_as_often_as_they_should(p: float) -> None:
    dropped = (dropout(torch.ones(20_011, 5), p=p, seed=SEED) == 0).double()
    assert abs(float(dropped.mean()) - p) < 5 * (p * (1 - p) / dropped.numel()) ** 0.5
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 5 / len(dropped) ** 0.5
    rows = torch.stack((dropped[:-1].flatten(), dropped[1:].flatten()))
    assert torch.corrcoef(rows)[0, 1].abs() < 5 / dropped.numel() ** 0.5


@pytest.mark.parametrize("dtype", [SINGLE, HALF])
def test_the_seed_decides(dtype: torch.dtype) -> None:
    leaves = draw((13, 17), dtype)
    assert torch.equal(fused(*leaves), fused(*leaves))
    assert torch.equal(dropout(leaves[1], p=P, seed=3), dropout(leaves[1], p=P, seed=torch.tensor(3)))
    assert not torch.equal(dropout(leaves[1], p=P, seed=3), dropout(leaves[1], p=P, seed=3 + 2**32))


def test_nothing_is_dropped_at_zero() -> None:
    inputs, branch, weight, bias = draw((5, 7))
    assert dropout(branch, p=0.0, seed=SEED) is branch
    assert torch.equal(add_dropout(inputs, branch, p=0.0, seed=SEED), inputs + branch)
    expected = functional.layer_norm(inputs + branch, (7,), weight, bias)
    assert torch.equal(add_dropout_norm(inputs, branch, weight, bias, p=0.0, seed=SEED), expected)


def test_rows_may_lie_anywhere() -> None:
    leaves = draw((5, 3, 7))
    turned = [leaves[0].detach().transpose(0, 1).contiguous().transpose(0, 1).requires_grad_(), *leaves[1:]]
    for one, other in zip(
        results(fused, turned, torch.ones(()).expand(5, 3, 7)), results(fused, leaves, torch.ones(5, 3, 7)), strict=True
    ):
        assert torch.equal(one, other)


@pytest.mark.parametrize("function", [fused, lambda inputs, branch, *_: add_dropout(inputs, branch, p=P, seed=SEED)])
def test_nan_stays_in_its_row(function: Callable[..., Tensor]) -> None:
    leaves = [tensor.detach() for tensor in draw((40, 9))]
    clean = function(*leaves)
    leaves[0][3, 1], leaves[1][17, 5] = torch.nan, torch.inf
    found = function(*leaves)
    others = torch.ones(40, dtype=torch.bool)
    others[3] = others[17] = False
    assert torch.equal(found[others], clean[others])
    assert found[3, 1].isnan()


@pytest.mark.parametrize("dtype", [SINGLE, HALF])
@pytest.mark.parametrize("branch_dtype", [SINGLE, HALF])
def test_as_near_to_float64_as_the_plain_composition(dtype: torch.dtype, branch_dtype: torch.dtype) -> None:
    leaves = draw((67, 40), dtype)
    leaves[1] = leaves[1].detach().to(branch_dtype).requires_grad_()
    if branch_dtype != dtype:  # torch norms a sum in float32 by parameters in float32
        leaves[2:] = [leaf.detach().float().requires_grad_() for leaf in leaves[2:]]
    gradient = torch.randn(67, 40).bfloat16()
    exact = results(plain, exactly(leaves), gradient)
    ours, theirs = results(fused, leaves, gradient), results(plain, leaves, gradient)
    for one, other, right in zip(ours, theirs, exact, strict=True):
        assert one.dtype == other.dtype
        rounding = torch.finfo(one.dtype).eps * right.abs().max()
        assert (one - right).abs().max() <= 2 * (other - right).abs().max() + rounding


def test_it_is_under_autocast_what_torch_does() -> None:
    inputs, branch, weight, bias = draw((5, 7))
    with torch.autocast("cpu", dtype=HALF):
        branch = functional.linear(branch, torch.eye(7))
        found, expected = fused(inputs, branch, weight, bias), plain(inputs, branch, weight, bias)
    assert (branch.dtype, found.dtype, expected.dtype) == (HALF, SINGLE, SINGLE)
    torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


# Gradients


@pytest.mark.parametrize("wanted", [[0], [1], [2], [3], [0, 3], [1, 2]])
def test_only_what_needs_a_gradient_gets_one(wanted: list[int]) -> None:
    leaves = [tensor.detach() for tensor in draw((5, 7))]
    for index in wanted:
        leaves[index].requires_grad_()
    chosen = [leaves[index] for index in wanted]
    found = torch.autograd.grad(fused(*leaves).cos().sum(), chosen)
    torch.testing.assert_close(found, torch.autograd.grad(plain(*leaves).float().cos().sum(), chosen))
    if wanted[0] < 2:
        total = add_dropout(leaves[0], leaves[1], p=P, seed=SEED)
        (gradient,) = torch.autograd.grad(total.sum(), chosen[:1])
        torch.testing.assert_close(gradient, torch.ones(5, 7) if wanted[0] == 0 else factor((5, 7)).float())


@pytest.mark.parametrize("function", [fused, lambda inputs, branch, *_: add_dropout(inputs, branch, p=P, seed=SEED)])
def test_second_derivatives(function: Callable[..., Tensor]) -> None:
    leaves = draw((5, 7))
    found = []
    for one, given_ in ((function, leaves), (function, exactly(leaves))):  # the second without kernels
        first = torch.autograd.grad(one(*given_).pow(3).sum(), given_, create_graph=True, allow_unused=True)
        total = sum((tensor.pow(2).sum() for tensor in first if tensor is not None), torch.zeros(()))
        found.append(torch.autograd.grad(total, given_, allow_unused=True))
    for one, right in zip(*found, strict=True):
        assert (one is None) == (right is None)
        if one is not None:
            torch.testing.assert_close(one.double(), right, rtol=1e-3, atol=1e-3 * float(right.abs().max()))


def test_torch_func_sees_through() -> None:
    leaves = [tensor.detach() for tensor in draw((5, 7))]
    gradient = torch.func.grad(lambda branch: fused(leaves[0], branch, *leaves[2:]).cos().sum())(leaves[1])
    expected = torch.func.grad(lambda branch: plain(leaves[0], branch, *leaves[2:]).cos().sum())(leaves[1])
    torch.testing.assert_close(gradient, expected, check_dtype=False, rtol=1e-4, atol=1e-5)


# Errors


@pytest.mark.parametrize("p", [-0.1, 1.0, 1 - 2**-34, float("nan")])
def test_p_is_a_probability(p: float) -> None:
    inputs, branch, weight, bias = draw((5, 7))
    for call in (
        lambda: dropout(branch, p=p, seed=SEED),
        lambda: add_dropout(inputs, branch, p=p, seed=SEED),
        lambda: add_dropout_norm(inputs, branch, weight, bias, p=p, seed=SEED),
    ):
        with pytest.raises(ValueError, match=re.escape(f"dropout is a probability, 0 <= p < 1; got {p}")):
            call()


@pytest.mark.usefixtures("unchecked")
def test_shapes_fit() -> None:
    inputs, branch, weight, bias = draw((5, 7))
    text = re.escape("inputs and branch have one shape, got (5, 7) and (7,)")
    with pytest.raises(ValueError, match=text):
        add_dropout(inputs, branch[0], p=P, seed=SEED)
    with pytest.raises(ValueError, match=text):
        add_dropout_norm(inputs, branch[0], weight, bias, p=P, seed=SEED)
    with pytest.raises(ValueError, match=re.escape("shape (7,) of a row of inputs, got (7,) and (3,)")):
        add_dropout_norm(inputs, branch, weight, bias[:3], p=P, seed=SEED)


# The native kernels


@NATIVE
@pytest.mark.parametrize("dtype", [SINGLE, HALF])
@pytest.mark.parametrize("shape", [(1000, 40), (9000, 3), (3, 9001)])
def test_the_number_of_threads_changes_no_bit(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    leaves, gradient = draw(shape, dtype), torch.randn(shape)
    threads, found = torch.get_num_threads(), []
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            found.append([*results(fused, leaves, gradient), dropout(leaves[1], p=P, seed=SEED)])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@NATIVE
def test_they_run() -> None:
    leaves = draw((5, 7))
    assert runs(*leaves)
    assert fused(*leaves).grad_fn.name() == "_NormedBackward"
    assert dropout(leaves[0], p=P, seed=SEED).grad_fn.name() == "_AddedBackward"
    assert not runs(leaves[0].double())


@NATIVE
@pytest.mark.parametrize("of_sum", [True, False])
def test_they_are_operators_of_torch(of_sum: bool) -> None:
    inputs, branch, weight, bias = leaves = draw((5, 7))
    seed = torch.tensor(SEED)
    torch.library.opcheck(residual.add_operator, (inputs, branch, P, seed))
    torch.library.opcheck(residual.add_operator, (None, branch, P, seed))
    torch.library.opcheck(residual.norm_operator, (*leaves, P, seed, 1e-5))
    total, normed, mean, inverse = (tensor.detach() for tensor in residual.norm_operator(*leaves, P, seed, 1e-5))
    rows = total, mean, inverse, weight.detach(), bias.detach()
    call = (normed, total if of_sum else None, *rows, HALF, P, seed)
    torch.library.opcheck(residual.derive_operator, call)


@NATIVE
@pytest.mark.parametrize("operator", [True, False])
def test_the_sum_has_a_gradient_too(operator: bool) -> None:
    leaves = draw((5, 7))
    if operator:
        total, normed, *_ = residual.norm_operator(*leaves, P, torch.tensor(SEED), 1e-5)
    else:
        total, normed = residual._Normed.apply(*leaves, P, SEED, 1e-5)
    for outputs in ((total, normed), (total,), (normed,)):
        found = sum(output.cos().sum() for output in outputs)
        exact = exactly(leaves)
        whole = exact[0] + exact[1] * factor((5, 7))
        right = {id(total): whole, id(normed): functional.layer_norm(whole, (7,), *exact[2:])}
        expected = sum(right[id(output)].cos().sum() for output in outputs)
        one = torch.autograd.grad(found, leaves, retain_graph=True, materialize_grads=True)
        other = torch.autograd.grad(expected, exact, materialize_grads=True)
        torch.testing.assert_close(one, other, check_dtype=False, rtol=1e-4, atol=1e-5)
