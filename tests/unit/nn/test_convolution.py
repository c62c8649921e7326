"""Convolutions with their norms, and the residual block of two."""

import pytest
import torch

from regard.nn import ConvBlock, ConvNorm


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2)])
def test_sizes_are_kept_or_divided_rounded_up(kernel, stride):
    layer = ConvNorm(3, 7, kernel, stride=stride).eval()
    found = layer(torch.randn(2, 3, 11, 13))
    assert found.shape == (2, 7, -(-11 // stride), -(-13 // stride))
    assert (found >= 0).all()
    assert (ConvNorm(3, 7, relu=False).eval()(torch.randn(2, 3, 11, 13)) < 0).any()


def test_in_training_every_channel_has_mean_zero_and_variance_one():
    found = ConvNorm(3, 5, relu=False)(torch.randn(4, 3, 9, 9) * 7 + 3)
    torch.testing.assert_close(found.mean((0, 2, 3)), torch.zeros(5), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.var((0, 2, 3), correction=0), torch.ones(5), atol=1e-3, rtol=0)


def test_a_block_begins_as_the_identity_and_learns():
    block = ConvBlock(4)
    inputs = torch.rand(2, 4, 6, 5)
    torch.testing.assert_close(block(inputs), inputs)
    block(inputs).square().sum().backward()
    assert block.outer[1].weight.grad.abs().sum() > 0
