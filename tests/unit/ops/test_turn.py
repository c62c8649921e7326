"""Laws of `regard.ops.turn`: rotations of pairs of features, and their derivatives."""

import pytest
import torch
from torch import func

from regard.ops.turn import turn

PAIRS = 3


def angles(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    angle = torch.randn(*shape, PAIRS, dtype=torch.float64)
    return angle.cos(), angle.sin()


def by_complex(inputs: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    turned = torch.complex(inputs[..., :PAIRS], inputs[..., PAIRS:]) * torch.complex(cos, sin)
    return torch.cat((turned.real, turned.imag), -1)


def test_turning_is_a_product_of_complex_numbers():
    inputs = torch.randn(2, 4, 5, 2 * PAIRS, dtype=torch.float64)
    for cos, sin in (angles(5), angles(2, 1, 5)):  # of every position, and of those of each row
        torch.testing.assert_close(turn(inputs, cos, sin), by_complex(inputs, cos, sin))
        columns = inputs.transpose(1, 2).contiguous().transpose(1, 2)  # as a projection lays them out
        torch.testing.assert_close(turn(columns, cos, sin), by_complex(inputs, cos, sin))


def test_turning_back_is_turning_by_the_negative_angle():
    inputs, (cos, sin) = torch.randn(4, 2 * PAIRS, dtype=torch.float64), angles(4)
    torch.testing.assert_close(turn(turn(inputs, cos, sin), cos, -sin), inputs)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.* is deprecated:DeprecationWarning")  # torch's, going forward
def test_derivatives_of_both_orders():
    inputs, (cos, sin) = torch.randn(4, 2 * PAIRS, dtype=torch.float64, requires_grad=True), angles(4)
    assert torch.autograd.gradcheck(lambda x: turn(x, cos, sin), inputs, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(lambda x: turn(x, cos, sin).square(), inputs)


def test_transforms_see_torchs_own():
    inputs, (cos, sin) = torch.randn(3, 4, 2 * PAIRS, dtype=torch.float64), angles(4)
    mapped = func.vmap(lambda x: turn(x, cos, sin))(inputs)
    torch.testing.assert_close(mapped, turn(inputs, cos, sin))
    gradient = func.grad(lambda x: turn(x, cos, sin).square().sum() / 2)(inputs[0])
    torch.testing.assert_close(gradient, inputs[0])  # lengths stay as they are


def test_16_bits_stay_16_bits():
    inputs, (cos, sin) = torch.randn(4, 2 * PAIRS), (each.float() for each in angles(4))
    turned = turn(inputs.bfloat16(), cos.bfloat16(), sin.bfloat16())
    assert turned.dtype == torch.bfloat16
    torch.testing.assert_close(turned.float(), turn(inputs, cos, sin), atol=0.05, rtol=0.02)
