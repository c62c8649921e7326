"""Laws of attention on sets: order does not matter, and padding equals leaving out."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.nn import EncoderBlock, InducedSetAttentionBlock, PoolingByAttention, SetAttentionBlock

BATCH, ELEMENTS, MEMORY, POINTS, SEEDS, DIM, HEADS, HIDDEN = 3, 7, 5, 11, 2, 12, 3, 17

LAYERS: dict[str, Callable[..., nn.Module]] = {
    "set attention": lambda **options: SetAttentionBlock(DIM, HEADS, hidden=HIDDEN, **options),
    "induced": lambda **options: InducedSetAttentionBlock(DIM, HEADS, points=POINTS, **options),
    "pooling": lambda **options: PoolingByAttention(DIM, HEADS, seeds=SEEDS, **options),
}


def randomized(module: nn.Module) -> nn.Module:
    """In float64, in evaluation mode, with no parameter left at 0 or 1."""
    module = module.double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def inputs_of(elements: int = ELEMENTS) -> Tensor:
    return torch.randn(BATCH, elements, DIM, dtype=torch.float64)


def mab(block: SetAttentionBlock, x: Tensor, y: Tensor) -> Tensor:
    """The paper's multihead attention block."""
    h = block.around_attention.norm(x + block.attention(x, y))
    return block.around_feed_forward.norm(h + block.feed_forward(h))


def test_the_blocks_are_their_formulas():
    x, y = inputs_of(), inputs_of(MEMORY)
    block = randomized(LAYERS["set attention"](dropout=0.1))
    torch.testing.assert_close(block(x), mab(block, x, x))
    torch.testing.assert_close(block(x), EncoderBlock.forward(block, x))
    torch.testing.assert_close(block(x, y), mab(block, x, y))
    induced = randomized(LAYERS["induced"](dropout=0.1))
    points = induced.points.expand(BATCH, POINTS, DIM)
    torch.testing.assert_close(induced(x), mab(induced.spread, x, mab(induced.gather, points, x)))
    pooling = randomized(LAYERS["pooling"](dropout=0.1))
    seeds = pooling.seeds.expand(BATCH, SEEDS, DIM)
    torch.testing.assert_close(pooling(x), mab(pooling.pool, seeds, pooling.feed_forward(x)))


@pytest.mark.parametrize("name", LAYERS)
def test_order_does_not_matter(name):
    layer, inputs, order = randomized(LAYERS[name]()), inputs_of(), torch.randperm(ELEMENTS)
    context, moved = layer(inputs), layer(inputs[:, order])
    torch.testing.assert_close(moved, context if name == "pooling" else context[:, order])


def test_the_order_of_the_other_set_changes_nothing():
    block, x, y = randomized(LAYERS["set attention"]()), inputs_of(), inputs_of(MEMORY)
    torch.testing.assert_close(block(x, y[:, torch.randperm(MEMORY)]), block(x, y))


@pytest.mark.parametrize("backend", ["auto", "reference"])
@pytest.mark.parametrize("name", LAYERS)
def test_padding_equals_leaving_out(name, backend):
    layer, inputs, sizes = randomized(LAYERS[name](backend=backend)), inputs_of(), [4, ELEMENTS, 1]
    strange = torch.nan if backend == "reference" else 1e3  # sdpa lets a hidden NaN through
    padding = torch.arange(ELEMENTS) >= torch.tensor(sizes)[:, None]
    together = layer(inputs.masked_fill(padding[..., None], strange), mask=regard.Lengths(sizes))
    for row, size in enumerate(sizes):
        alone = layer(inputs[row : row + 1, :size])
        torch.testing.assert_close(together[row : row + 1, : alone.shape[1]], alone)


def test_an_empty_set_leaves_the_seeds():
    pooling, nothing = randomized(LAYERS["pooling"]()), regard.Lengths([0] * BATCH)
    context = pooling(inputs_of(), mask=nothing)
    assert context.isfinite().all()
    torch.testing.assert_close(context, pooling(inputs_of(), mask=nothing))
    torch.testing.assert_close(context, pooling(inputs_of(0)))


def test_every_element_reaches_every_other_and_all_that_is_learned_learns():
    for name in LAYERS:
        layer, inputs = randomized(LAYERS[name]()), inputs_of().requires_grad_()
        context = layer(inputs)
        (gradient,) = torch.autograd.grad(context[:, 0, 0].sum(), inputs, retain_graph=True)
        assert (gradient != 0).any(-1).all()
        context.square().sum().backward()
        assert all((parameter.grad != 0).any() for parameter in layer.parameters())


def test_watch_sees_the_steps_by_name():
    layer = randomized(LAYERS["induced"](normalize=regard.TopKSoftmax(2)))
    with regard.watch(layer, regard.Weights()) as seen:
        layer(inputs_of())
    assert list(seen) == ["gather.attention", "spread.attention"]
    gathered, spread = (seen[name].weights for name in seen)
    assert gathered.shape == (BATCH, HEADS, POINTS, ELEMENTS)
    assert spread.shape == (BATCH, HEADS, ELEMENTS, POINTS)
    assert ((gathered > 0).sum(-1) == 2).all()
    pooling = LAYERS["pooling"]()
    with regard.watch(pooling, regard.Weights()) as seen:
        pooling(inputs_of().float())
    assert seen["pool.attention"].weights.shape == (BATCH, HEADS, SEEDS, ELEMENTS)
