"""The Conformer's block: what lies behind the end of a sequence is no one's neighbour."""

import re

import pytest
import torch

from regard.attention.padding import Lengths
from regard.nn.attention import MultiHeadAttention
from regard.nn.conformer import ConformerBlock, NearConvolution, Subsampling, quarter


def test_padding_changes_nothing() -> None:
    block = ConformerBlock(MultiHeadAttention(8, 2), 8, 16, 5, 0.0).eval()
    short, rest = torch.randn(1, 6, 8), torch.randn(1, 4, 8)
    padded = torch.cat((short, rest), 1)
    lengths = torch.tensor([6])
    beyond = (torch.arange(10) >= 6).view(1, 10, 1)
    found = block(padded, mask=Lengths(lengths), beyond=beyond)
    torch.testing.assert_close(found[:, :6], block(short), rtol=1e-5, atol=1e-5)


def test_the_convolution_mixes_what_is_near() -> None:
    near = NearConvolution(4, 5)
    inputs = torch.randn(1, 20, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(near(inputs)[0, 10].sum(), inputs)
    assert (gradient[0].abs().sum(-1) > 0).nonzero().flatten().tolist() == [8, 9, 10, 11, 12]


def test_a_kernel_has_a_middle() -> None:
    with pytest.raises(ValueError, match=re.escape("kernel has a middle, so it must be odd, got 4")):
        NearConvolution(4, 4)


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 9])
def test_subsampling_leaves_a_quarter(frames: int) -> None:
    found = Subsampling(10, 6, channels=2)(torch.randn(2, frames, 10))
    assert found.shape == (2, int(quarter(torch.tensor([frames]))), 6)
