"""Heads cut from one projection are its columns; gradients side by side are put together without a copy."""

import pytest
import torch
from torch import Tensor

import regard
from regard.ops.columns import empty_beside, split_heads

BATCH, LENGTH, WIDTH = 2, 7, 4
HEADS = (6, 3, 3)


def projected_of(heads: tuple[int, ...] = HEADS, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(BATCH, LENGTH, sum(heads) * WIDTH, dtype=dtype, requires_grad=True)


def plain(projected: Tensor, heads: tuple[int, ...] = HEADS) -> list[Tensor]:
    widths = [count * WIDTH for count in heads]
    return [part.unflatten(-1, (-1, WIDTH)).transpose(1, 2) for part in projected.split(widths, -1)]


def storages(tensors: list[Tensor]) -> list[int]:
    return [tensor.untyped_storage().data_ptr() for tensor in tensors]


def test_heads_are_columns_of_the_projection():
    projected = projected_of()
    for part, expected in zip(split_heads(projected, HEADS, WIDTH), plain(projected), strict=True):
        assert torch.equal(part, expected)
        assert part.data_ptr() == expected.data_ptr()


@pytest.mark.parametrize("missing", [(), (0,), (1, 2)])
def test_gradients_are_those_of_torchs_own_split(missing):
    projected = projected_of()
    weights = [torch.randn_like(part) for part in plain(projected)]

    def gradient(parts: list[Tensor]) -> Tensor:
        products = [(part * weight).sum() for part, weight in zip(parts, weights, strict=True)]
        total = sum(product for at, product in enumerate(products) if at not in missing)
        return torch.autograd.grad(total, projected)[0]

    assert torch.equal(gradient(list(split_heads(projected, HEADS, WIDTH))), gradient(plain(projected)))


def test_gradients_side_by_side_are_not_copied():
    projected = projected_of()
    parts = split_heads(projected, HEADS, WIDTH)
    gradients = empty_beside(*parts)
    for gradient in gradients:
        gradient.normal_()
    (found,) = torch.autograd.grad(parts, projected, gradients)
    assert found.data_ptr() == gradients[0].data_ptr()
    for gradient, expected in zip(gradients, plain(found), strict=True):
        assert torch.equal(gradient, expected)


@pytest.mark.parametrize("order", [(1, 0, 2), (0, 2, 1)])
def test_gradients_in_another_order_are_put_together(order):
    projected = projected_of((3, 3, 3))
    parts = split_heads(projected, (3, 3, 3), WIDTH)
    beside = empty_beside(*parts)
    gradients = [beside[at].normal_() for at in order]
    (found,) = torch.autograd.grad(parts, projected, gradients)
    for gradient, expected in zip(gradients, plain(found, (3, 3, 3)), strict=True):
        assert torch.equal(gradient, expected)


def test_second_derivatives():
    projected = projected_of(dtype=torch.float64)
    torch.autograd.gradgradcheck(
        lambda x: [part.square() * 0.5 for part in split_heads(x, HEADS, WIDTH)], projected, atol=1e-6
    )


def test_new_tensors_are_beside_each_other_where_the_given_ones_are():
    query, key, value = split_heads(projected_of(), HEADS, WIDTH)
    made = empty_beside(query, key, value)
    assert len(set(storages(made))) == 1
    assert [tensor.stride() for tensor in made] == [tensor.stride() for tensor in (query, key, value)]
    assert made[2].untyped_storage().nbytes() == 4 * BATCH * LENGTH * sum(HEADS) * WIDTH


def test_new_tensors_of_a_projection_of_keys_and_values_alone():
    key, value = split_heads(projected_of((3, 3)), (3, 3), WIDTH)
    query = torch.randn(BATCH, 6, 5, WIDTH)
    made = empty_beside(query, key, value)
    places = storages(made)
    assert places[0] != places[1] == places[2]
    assert [tensor.shape for tensor in made] == [tensor.shape for tensor in (query, key, value)]
    assert made[0].is_contiguous()


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(lambda x: (x[:, :2], x[:, :2]), id="one twice"),
        pytest.param(lambda x: (x[:, :2], x[:, 1:3]), id="overlapping"),
        pytest.param(lambda x: (x[:, :2], x[:, 4:]), id="a gap"),
        pytest.param(lambda x: (x[:, :2, :3], x[:, 2:4, :3]), id="some rows"),
        pytest.param(lambda x: (x[:, :2].mT, x[:, 2:4].mT), id="turned"),
        pytest.param(lambda x: (x[:, :1].expand(-1, 3, -1, -1), x[:, 1:4]), id="expanded"),
    ],
)
def test_what_does_not_fill_one_matrix_is_apart(given):
    whole = torch.randn(BATCH, LENGTH, 6, WIDTH).transpose(1, 2)
    tensors = given(whole)
    made = empty_beside(*tensors)
    assert len(set(storages(made))) == len(made)
    for tensor, new in zip(tensors, made, strict=True):
        assert new.shape == tensor.shape
        assert new.stride(-1) == 1
        new.fill_(1.0)
        assert new.sum() == new.numel()


@pytest.mark.requires("native")
def test_attention_writes_gradients_side_by_side():
    """Short heads and long ones; with the gradient of a projection no larger than it, nothing was put together."""
    for length in (16, 300):
        projected = torch.randn(1, length, 3 * 4 * 32, requires_grad=True)
        query, key, value = split_heads(projected, (4, 4, 4), 32)
        seen: list[Tensor] = []
        for part in (query, key, value):
            part.register_hook(seen.append)
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # one place for the sums
        try:
            regard.attend(query, key, value, mask=regard.Causal(), backend="native").square().sum().backward()
        finally:
            torch.set_num_threads(threads)
        assert len(set(storages(seen))) == 1
        expected = projected.detach().double().requires_grad_()
        parts = split_heads(expected, (4, 4, 4), 32)
        regard.attend(*parts, mask=regard.Causal(), backend="reference").square().sum().backward()
        torch.testing.assert_close(projected.grad.double(), expected.grad, atol=1e-4, rtol=1e-4)
