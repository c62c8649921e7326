"""Laws of dropout: what stays is scaled so that the mean is kept, and the gradient is the mask.

In float32 the kernels run, where there are such; in float64 they never do, and four features share a draw.
"""

import pytest
import torch

from regard.nn import Dropout

COUNT = 100_003  # a prime: no multiple of the four features that share a draw
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])


@DTYPES
@pytest.mark.parametrize("p", [0.1, 0.3, 0.75])
def test_probability_and_expectation(p, dtype):
    kept = Dropout(p)(torch.ones(COUNT, dtype=dtype))
    dropped = float((kept == 0).float().mean())
    deviation = (p * (1 - p) / COUNT) ** 0.5
    assert abs(dropped - p) < 5 * deviation
    assert abs(float(kept.mean()) - 1) < 5 * deviation / (1 - p)
    assert kept.unique().tolist() == pytest.approx([0, 1 / (1 - p)], rel=1e-4)


@DTYPES
def test_neighbours_are_independent(dtype):
    """Four features share one draw of 64 bits, 16 each: no two of them may be dropped together."""
    dropped = (Dropout(0.5)(torch.ones(COUNT // 4, 4, dtype=dtype)) == 0).double()
    assert torch.corrcoef(dropped.T).fill_diagonal_(0).abs().max() < 5 / (COUNT // 4) ** 0.5


@pytest.mark.parametrize("shape", [(), (1,), (2, 3, 5), (7, 0), (13, 17)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_gradient_is_the_mask(shape, dtype):
    inputs = torch.ones(shape, dtype=dtype, requires_grad=True)
    outputs = Dropout(0.4)(inputs)
    outputs.sum().backward()
    assert outputs.dtype == dtype
    assert torch.equal(inputs.grad, outputs.detach())


def test_it_does_nothing_in_evaluation_and_at_zero():
    inputs = torch.randn(13, 17)
    state = torch.get_rng_state()
    assert Dropout(0.4).eval()(inputs) is inputs
    assert Dropout(0.0)(inputs) is inputs
    assert torch.equal(torch.get_rng_state(), state), "and draws nothing"


@DTYPES
def test_the_seed_decides(dtype):
    dropout, inputs = Dropout(0.4), torch.ones(13, 17, dtype=dtype)
    torch.manual_seed(5)
    first, second = dropout(inputs), dropout(inputs)
    torch.manual_seed(5)
    assert torch.equal(dropout(inputs), first)
    assert torch.equal(dropout(inputs), second)
    assert not torch.equal(first, second)


def test_without_kernels_the_probability_is_a_multiple_of_2_to_the_minus_16():
    ones = torch.ones(101, dtype=torch.float64)
    kept = Dropout(0.1)(ones)
    assert round(0.1 * 2**16) == 6554
    assert float(kept.max()) == 2**16 / (2**16 - 6554)
    assert torch.equal(Dropout(2**-18)(ones), ones)


@pytest.mark.requires("native")
def test_with_kernels_it_is_a_multiple_of_2_to_the_minus_32():
    kept = Dropout(0.1)(torch.ones(101))
    assert float(kept.max()) == torch.tensor(1 / 0.9).item()
    dropped = int((Dropout(2**-18)(torch.ones(2**22)) == 0).sum())
    assert abs(dropped - 2**4) < 5 * 2**2


@pytest.mark.parametrize("p", [-0.1, 1.0, 1 - 2**-18, float("nan")])
def test_what_is_no_probability(p):
    with pytest.raises(ValueError, match="0 <= p < 1"):
        Dropout(p)


def test_it_says_what_it_is():
    assert repr(Dropout(0.25)) == "Dropout(p=0.25)"
