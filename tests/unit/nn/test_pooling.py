"""Additive pooling: a weighted mean of each row, or of each document, by a learned query."""

import pytest
import torch

import regard
from regard.nn import AdditivePooling

LENGTHS = [5, 1, 3]


def inputs(dim: int = 6) -> torch.Tensor:
    return torch.randn(3, 5, dim, dtype=torch.float64)


@pytest.mark.parametrize("heads", [1, 2])
def test_the_formula(heads: int) -> None:
    pooling, hidden = AdditivePooling(6, heads=heads).double(), inputs()
    found = pooling(hidden, regard.Lengths(LENGTHS))
    score, wide = pooling.score, 6 // heads
    for row, length in enumerate(LENGTHS):
        for head in range(heads):
            part = hidden[row, :length, head * wide : (head + 1) * wide]
            bias = pooling.query[head] @ score.query_weight[head]
            logits = torch.tanh(bias + part @ score.key_weight[head]) @ score.weight[head]
            expected = logits.softmax(0) @ part
            torch.testing.assert_close(found[row, head * wide : (head + 1) * wide], expected)


def test_packed_is_padded() -> None:
    pooling, hidden = AdditivePooling(6, heads=2).double(), inputs()
    padded = pooling(hidden, regard.Lengths(LENGTHS))
    row = torch.cat([one[:length] for one, length in zip(hidden, LENGTHS, strict=True)]).unsqueeze(0)
    packed = pooling(row, regard.Documents([1] * 3, LENGTHS))
    torch.testing.assert_close(packed, padded)


def test_a_sequence_of_one_is_itself() -> None:
    hidden = inputs()[:, :1]
    torch.testing.assert_close(AdditivePooling(6).double()(hidden), hidden.squeeze(1))


def test_its_weights_are_seen() -> None:
    pooling = torch.nn.Sequential(AdditivePooling(6, heads=3)).double()
    with regard.watch(pooling, regard.Weights()) as seen:
        pooling(inputs())
    assert seen["0"].weights.shape == (3, 3, 1, 5)


def test_gradients() -> None:
    pooling = AdditivePooling(4, heads=2).double()
    hidden = torch.randn(2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: pooling(x, regard.Lengths([3, 2])), (hidden,))
    pooling(hidden).sum().backward()
    assert all(parameter.grad is not None for parameter in pooling.parameters())


def test_heads_share_the_features() -> None:
    with pytest.raises(ValueError, match=r"dim \(5\) must be a multiple of heads \(2\)"):
        AdditivePooling(5, heads=2)
