"""The non-local block is the identity at first, and its formula afterwards."""

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.nn import NonLocalBlock

BATCH, CHANNELS, INNER = 2, 7, 5
SPACES = {"sequence": (11,), "picture": (3, 5), "film": (2, 3, 5)}
SPACE = SPACES["film"]


class Mean(regard.Normalizer):
    """`s / keys`: what the paper's dot-product and concatenation versions are divided by."""

    sums_to_one = False

    def weights(self, scores, allowed, place=None, seed=0):
        return scores / scores.shape[-1]


def trained(**options) -> NonLocalBlock:
    """In float64, with no parameter left as it began."""
    block = NonLocalBlock(CHANNELS, inner=INNER, **options).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


def inputs_of(space: tuple[int, ...] = SPACE) -> Tensor:
    return torch.randn(BATCH, CHANNELS, *space, dtype=torch.float64)


def parts_of(block: NonLocalBlock, inputs: Tensor) -> list[Tensor]:
    """theta, phi and g of every cell as the 1x1 convolutions that they are, `(batch, inner, cells)`."""
    layers, cells = block.attention, inputs.flatten(2)
    weights = [layers.query.weight, *layers.key_value.weight.chunk(2)]
    biases = [layers.query.bias, *layers.key_value.bias.chunk(2)]
    return [nn.functional.conv1d(cells, w[..., None], b) for w, b in zip(weights, biases, strict=True)]


def whole(block: NonLocalBlock, inputs: Tensor, weights: Tensor, g: Tensor) -> Tensor:
    """`x + W_z (weights g)`."""
    output = block.attention.output
    context = torch.einsum("bij,bcj->bci", weights, g)
    return inputs + nn.functional.conv1d(context, output.weight[..., None], output.bias).view_as(inputs)


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_it_begins_as_the_identity_and_learns(space):
    block, inputs = NonLocalBlock(CHANNELS).double(), inputs_of(space)
    context = block(inputs)
    assert torch.equal(context, inputs)
    context.square().sum().backward()
    assert block.attention.output.weight.grad.abs().min() > 0


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_it_is_the_embedded_gaussian(space):
    block, inputs = trained(), inputs_of(space)
    theta, phi, g = parts_of(block, inputs)
    similarity = torch.einsum("bci,bcj->bij", theta, phi).exp()
    expected = whole(block, inputs, similarity / similarity.sum(-1, keepdim=True), g)
    torch.testing.assert_close(block(inputs), expected)


def test_its_dot_product_version():
    block, inputs = trained(normalize=Mean()), inputs_of()
    theta, phi, g = parts_of(block, inputs)
    expected = whole(block, inputs, torch.einsum("bci,bcj->bij", theta, phi) / g.shape[-1], g)
    torch.testing.assert_close(block(inputs), expected)


def test_its_concatenation_version():
    network = nn.Sequential(nn.Linear(2 * INNER, 1, bias=False), nn.ReLU())
    block, inputs = trained(score=regard.Network(network), normalize=Mean()), inputs_of()
    theta, phi, g = parts_of(block, inputs)
    left, right = network[0].weight[0].split(INNER)
    similarity = torch.relu(torch.einsum("c,bci->bi", left, theta)[..., None] + (right @ phi).unsqueeze(-2))
    torch.testing.assert_close(block(inputs), whole(block, inputs, similarity / g.shape[-1], g))


def test_where_a_cell_is_does_not_matter():
    block, inputs = trained(), inputs_of()
    order = torch.randperm(inputs[0, 0].numel())
    moved = inputs.flatten(2)[..., order].view_as(inputs)
    torch.testing.assert_close(block(moved).flatten(2), block(inputs).flatten(2)[..., order])


def test_half_of_the_channels_are_inside():
    assert NonLocalBlock(CHANNELS).attention.head_dim == 3
    assert NonLocalBlock(1).attention.head_dim == 1
    assert NonLocalBlock(CHANNELS, inner=INNER).attention.head_dim == INNER


def test_watch_sees_it_by_name():
    network = nn.Sequential(nn.Conv2d(3, CHANNELS, 3), NonLocalBlock(CHANNELS), nn.ReLU())
    with regard.watch(network, regard.Weights()) as seen:
        network(torch.randn(BATCH, 3, 5, 7))
    assert list(seen) == ["1.attention"]
    assert seen["1.attention"].weights.shape == (BATCH, 1, 3 * 5, 3 * 5)
