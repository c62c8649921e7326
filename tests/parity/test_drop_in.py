"""`regard.scaled_dot_product_attention` is torch's, for everything that torch's takes."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

import regard

LENGTH = st.sampled_from((1, 2, 3, 5, 7))
BOOLEAN = st.booleans()
SCALE = st.sampled_from((None, None, 0.3, 1.0))
LEADING = st.sampled_from([(), (3,), (2, 3), (1, 1), (2, 1, 3), (3, 2, 1, 2)])


def draw_tensors(*shapes: tuple[int, ...], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.randn(shape, dtype=dtype).requires_grad_() for shape in shapes]


def compare(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None, **options: object) -> None:
    """The same contexts, and the same gradients of everything that has one."""
    leaves = [tensor for tensor in (query, key, value, mask) if tensor is not None and tensor.requires_grad]
    ours = regard.scaled_dot_product_attention(query, key, value, mask, **options)
    theirs = functional.scaled_dot_product_attention(query, key, value, mask, **options)
    assert ours.shape == theirs.shape
    assert ours.dtype == theirs.dtype
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
    probe = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad(ours, leaves, probe), torch.autograd.grad(theirs, leaves, probe), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@given(data=st.data(), leading=LEADING, queries=LENGTH, keys=LENGTH, width=LENGTH, value_width=LENGTH, scale=SCALE)
def test_any_shape(
    data: st.DataObject,
    leading: tuple[int, ...],
    queries: int,
    keys: int,
    width: int,
    value_width: int,
    scale: float | None,
) -> None:
    """From two dimensions to six, with leading ones that broadcast, and each kind of mask."""
    shared = tuple(size if data.draw(BOOLEAN) else 1 for size in leading)
    query, key, value = draw_tensors((*leading, queries, width), (*shared, keys, width), (*shared, keys, value_width))
    full = (*leading, queries, keys)
    shape = tuple(size if data.draw(BOOLEAN) else 1 for size in full)
    first = next((axis for axis, size in enumerate(shape) if size > 1), len(full) - 2)
    shape = shape[min(first, len(full) - 2) :]
    match data.draw(st.sampled_from(("none", "causal", "boolean", "float", "hiding"))):
        case "causal":
            compare(query, key, value, is_causal=True, scale=scale)
        case "boolean":
            compare(query, key, value, torch.rand(shape) < 0.6, scale=scale)
        case "float":
            compare(query, key, value, torch.randn(shape, dtype=torch.float64, requires_grad=True), scale=scale)
        case "hiding":
            hidden = torch.zeros(shape, dtype=torch.float64).masked_fill(torch.rand(shape) < 0.4, -torch.inf)
            compare(query, key, value, hidden, scale=scale)
        case _:
            compare(query, key, value, scale=scale)


@given(data=st.data(), leading=st.sampled_from([(), (2,), (3, 2)]), groups=st.sampled_from((1, 2, 3)))
@settings(max_examples=25)
def test_grouped_heads(data: st.DataObject, leading: tuple[int, ...], groups: int) -> None:
    kv_heads = data.draw(st.sampled_from((1, 2)))
    query, key, value = draw_tensors(
        (*leading, kv_heads * groups, 5, 3), (*leading, kv_heads, 7, 3), (*leading, kv_heads, 7, 3)
    )
    mask = torch.rand(kv_heads * groups, 5, 7) < 0.6 if data.draw(BOOLEAN) else None
    if len(leading) == 1:  # what torch takes for grouped heads has four dimensions
        compare(query, key, value, mask, enable_gqa=True)
        return
    ours = regard.scaled_dot_product_attention(query, key, value, mask, enable_gqa=True)
    repeated = [tensor.repeat_interleave(groups, -3) for tensor in (key, value)]
    theirs = functional.scaled_dot_product_attention(query, *repeated, mask)
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (7, 5), (1, 7), (7, 1)])
def test_causal_counts_from_the_first_key(queries: int, keys: int) -> None:
    query, key, value = draw_tensors((2, 3, queries, 5), (2, 3, keys, 5), (2, 3, keys, 5))
    compare(query, key, value, is_causal=True)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float64])
def test_rows_that_see_nothing(dtype: torch.dtype) -> None:
    query, key, value = draw_tensors((2, 3, 5, 7), (2, 3, 11, 7), (2, 3, 11, 7))
    allowed = torch.rand(5, 11) < 0.5
    allowed[2] = False
    mask = allowed if dtype == torch.bool else torch.zeros(5, 11, dtype=dtype).masked_fill(~allowed, -torch.inf)
    compare(query, key, value, mask)
    assert not regard.scaled_dot_product_attention(query, key, value, mask)[:, :, 2].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("masked", [False, True])
def test_we_are_as_near_to_float64_as_torch_is(dtype: torch.dtype, masked: bool) -> None:
    tensors = draw_tensors((2, 3, 5, 7), (2, 3, 5, 7), (2, 3, 5, 7), dtype=dtype)
    mask = torch.randn(5, 5, dtype=dtype) if masked else None
    probe = torch.randn(2, 3, 5, 7, dtype=dtype)

    def results(attend: Callable[..., Tensor], dtype: torch.dtype) -> list[Tensor]:
        cast = None if mask is None else mask.to(dtype)
        context = attend(*(tensor.to(dtype) for tensor in tensors), cast, is_causal=not masked)
        gradients = torch.autograd.grad(context, tensors, probe.to(dtype))
        return [tensor.double() for tensor in (context, *gradients)]

    exact = results(functional.scaled_dot_product_attention, torch.float64)
    ours = results(regard.scaled_dot_product_attention, dtype)
    theirs = results(functional.scaled_dot_product_attention, dtype)
    for right, one, other in zip(exact, ours, theirs, strict=True):
        rounding = torch.finfo(dtype).eps * right.abs().max()
        assert (one - right).abs().max() <= 2 * (other - right).abs().max() + rounding


@pytest.mark.parametrize("shape", [(2, 3, 0, 7), (3, 0, 7), (0, 7), (0, 3, 5, 7), (2, 0, 3, 5, 7)], ids=str)
def test_nothing_in_nothing_out(shape: tuple[int, ...]) -> None:
    query, key = torch.randn(shape), torch.randn(*shape[:-2], 5, 7)
    ours = regard.scaled_dot_product_attention(query, key, key)
    assert ours.shape == functional.scaled_dot_product_attention(query, key, key).shape


def test_float64_runs_on_torch_s_own_kernel() -> None:
    query, key, value = (torch.randn(1, 2, 101, 8, dtype=torch.float64) for _ in range(3))
    assert regard.plan(query, key, value, mask=regard.Causal()).backend == "sdpa"
    ours = regard.scaled_dot_product_attention(query, key, value, is_causal=True)
    assert torch.equal(ours, functional.scaled_dot_product_attention(query, key, value, is_causal=True))


def test_dropout_is_applied_whenever_it_is_above_nothing() -> None:
    query, key = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 11, 7)
    ones = torch.ones(2, 3, 11, 1)
    rates = [
        regard.scaled_dot_product_attention(
            query.repeat(97, 1, 1, 1), *(t.repeat(97, 1, 1, 1) for t in (key, ones)), None, p
        )
        for p in (0.0, 0.25)
    ]
    torch.testing.assert_close(rates[0], torch.ones_like(rates[0]))
    assert rates[1].std() > 0.1
    assert abs(rates[1].mean().item() - 1) < 0.03


def test_signature_is_torch_s() -> None:
    """By position, in torch's order."""
    query, key, value = draw_tensors((2, 3, 5, 7), (2, 3, 5, 7), (2, 3, 5, 7))
    mask = torch.rand(5, 5) < 0.7
    mask[:, 0] = True
    torch.testing.assert_close(
        regard.scaled_dot_product_attention(query, key, value, mask, 0.0, False),
        functional.scaled_dot_product_attention(query, key, value, mask, 0.0, False),
    )
    torch.testing.assert_close(
        regard.scaled_dot_product_attention(query, key, value, scale=1 / math.sqrt(7), enable_gqa=False),
        functional.scaled_dot_product_attention(query, key, value),
    )
