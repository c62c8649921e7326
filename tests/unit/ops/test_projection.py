"""Projections of few rows are linear layers with what stands around them."""

import pytest
import torch
from torch import nn

from regard.ops.projection import Projection

pytestmark = pytest.mark.requires("native")


@pytest.mark.parametrize("rows", [1, 2, 7, 13, 101])
@pytest.mark.parametrize(("depth", "columns"), [(1, 1), (17, 5), (32, 96), (64, 37), (128, 500)])
def test_it_is_a_linear_layer(rows: int, depth: int, columns: int) -> None:
    linear, norm = nn.Linear(depth, columns), nn.LayerNorm(depth)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    inputs, added = torch.randn(rows, depth), torch.randn(rows, columns)
    weight = linear.weight.detach()
    with torch.no_grad():
        torch.testing.assert_close(Projection(weight)(inputs), inputs @ weight.T, rtol=1e-5, atol=1e-5)
        expected = added + linear(norm(inputs)).relu()
        whole = Projection(weight, linear.bias, norm=norm, relu=True)
        torch.testing.assert_close(whole(inputs, added), expected, rtol=2e-5, atol=5e-5)
        assert whole(inputs, added, to=added) is added
        torch.testing.assert_close(added, expected, rtol=2e-5, atol=5e-5)


def test_no_row_depends_on_those_beside_it() -> None:
    """The same row in a batch of any size is the same to about a last bit: a search finds the same beside others."""
    inputs, projection = torch.randn(97, 64), Projection(torch.randn(83, 64), norm=nn.LayerNorm(64))
    together = projection(inputs)
    for row in (0, 5, 48, 96):
        torch.testing.assert_close(
            projection(inputs[row : row + 1].contiguous())[0], together[row], rtol=1e-6, atol=1e-6
        )


def test_more_threads_give_the_same() -> None:
    inputs, projection = torch.randn(160, 128), Projection(torch.randn(1000, 128))
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            torch.set_num_threads(threads)
            found.append(projection(inputs))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
