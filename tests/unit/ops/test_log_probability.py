"""Log-probabilities in blocks are those of log_softmax, with its gradients."""

import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.ops import log_probability
from regard.ops.log_probability import linear_log_probability


def plain(hidden, weight, target):
    logs = torch.log_softmax(hidden @ weight.T, -1)
    return logs.gather(-1, target.unsqueeze(-1)).squeeze(-1), logs.mean(-1)


@settings(max_examples=25)
@given(
    rows=st.integers(0, 23),
    dim=st.sampled_from((1, 3, 7)),
    vocabulary=st.sampled_from((1, 2, 13)),
    scale=st.sampled_from((1.0, 100.0)),
    block=st.integers(1, 7),
)
def test_values_and_gradients(rows: int, dim: int, vocabulary: int, scale: float, block: int) -> None:
    hidden = (scale * torch.randn(rows, dim, dtype=torch.float64)).requires_grad_()
    weight = torch.randn(vocabulary, dim, dtype=torch.float64, requires_grad=True)
    target = torch.randint(vocabulary, (rows,))
    slopes = torch.randn(2, rows, dtype=torch.float64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log_probability, "_ROWS", block)
        found = linear_log_probability(hidden, weight, target)
        gradients = torch.autograd.grad(found, (hidden, weight), tuple(slopes))
    expected = plain(hidden, weight, target)
    wanted = torch.autograd.grad(expected, (hidden, weight), tuple(slopes))
    for one, other in zip((*found, *gradients), (*expected, *wanted), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_by_hand() -> None:
    """Probabilities 1/8, 2/8 and 5/8, the last asked for."""
    weight = torch.tensor([[1.0], [2.0], [5.0]], dtype=torch.float64).log()
    chosen, mean = linear_log_probability(torch.ones(1, 1, dtype=torch.float64), weight, torch.tensor([2]))
    logs = torch.tensor([1 / 8, 2 / 8, 5 / 8], dtype=torch.float64).log()
    torch.testing.assert_close(chosen, logs[2:])
    torch.testing.assert_close(mean, logs.mean().view(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sums_are_float32_and_gradients_return_in_their_type(dtype: torch.dtype) -> None:
    hidden, weight = (torch.randn(size, 5, dtype=dtype, requires_grad=True) for size in (300, 11))
    chosen, mean = linear_log_probability(hidden, weight, torch.randint(11, (300,)))
    assert chosen.dtype == mean.dtype == torch.float32
    gradients = torch.autograd.grad(chosen.sum(), (hidden, weight))
    assert [gradient.dtype for gradient in gradients] == [dtype, dtype]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast, _ = linear_log_probability(hidden.float(), weight.float(), torch.zeros(300, dtype=torch.int64))
    assert cast.dtype == torch.float32


def test_shapes_that_do_not_fit(unchecked: None) -> None:
    message = "expected hidden (rows, dim), weight (vocabulary, dim) and target (rows,), got (2, 3), (5, 4) and (2,)"
    with pytest.raises(ValueError, match=re.escape(message)):
        linear_log_probability(torch.zeros(2, 3), torch.zeros(5, 4), torch.zeros(2, dtype=torch.int64))
