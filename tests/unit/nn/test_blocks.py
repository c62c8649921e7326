"""The blocks are their formulas, and decode step by step as they do at once."""

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.nn import BlockCache, DecoderBlock, EncoderBlock, FeedForward, MultiHeadAttention, Residual

BATCH, LENGTH, SOURCE, DIM, HEADS, HIDDEN = 2, 7, 5, 12, 3, 17


def randomized(module: nn.Module) -> nn.Module:
    """In float64, in evaluation mode, with no parameter left at 0 or 1."""
    module = module.double().eval()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def attention(**options) -> MultiHeadAttention:
    return MultiHeadAttention(DIM, HEADS, **options)


def inputs_of(length: int = LENGTH, dim: int = DIM) -> Tensor:
    return torch.randn(BATCH, length, dim, dtype=torch.float64)


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_the_feed_forward_layer_is_its_formula(activation):
    layer, x = randomized(FeedForward(DIM, HIDDEN, activation=activation)), inputs_of()
    inner = getattr(nn.functional, activation)(x @ layer.inner.weight.T + layer.inner.bias)
    torch.testing.assert_close(layer(x), inner @ layer.outer.weight.T + layer.outer.bias)


def test_an_unknown_activation():
    with pytest.raises(ValueError, match="unknown activation 'tanh'; expected one of relu, gelu, silu"):
        FeedForward(DIM, HIDDEN, activation="tanh")


def test_the_residual_path_is_its_formula_before_and_after():
    x, weight = inputs_of(), torch.randn(DIM, DIM, dtype=torch.float64)
    pre = randomized(Residual(DIM, pre_norm=True, dropout=0.5))
    torch.testing.assert_close(pre(x, lambda y: y @ weight), x + pre.norm(x) @ weight)
    post = randomized(Residual(DIM, pre_norm=False, dropout=0.5))
    torch.testing.assert_close(post(x, lambda y: y @ weight), post.norm(x + x @ weight))


@pytest.mark.parametrize("pre_norm", [True, False])
def test_dropout_is_on_what_is_added(pre_norm):
    around, x = Residual(DIM, pre_norm=pre_norm, dropout=0.5), torch.zeros(BATCH, LENGTH, DIM)
    around.norm = nn.Identity()
    assert around(x, torch.ones_like).unique().tolist() == [0, 2]


@pytest.mark.requires("native")
@pytest.mark.parametrize("pre_norm", [True, False])
def test_in_training_the_residual_path_is_one_call(pre_norm):
    around, x = Residual(DIM, pre_norm=pre_norm, dropout=0.5), torch.randn(BATCH, LENGTH, DIM)
    nn.init.normal_(around.norm.weight)
    torch.manual_seed(3)
    outputs = around(x, torch.cos)
    assert outputs.grad_fn.name() == ("_AddedBackward" if pre_norm else "_NormedBackward")
    torch.manual_seed(3)
    branch = (around.norm(x) if pre_norm else x).cos()
    total = x + around.dropout(branch)
    torch.testing.assert_close(outputs, total if pre_norm else around.norm(total))


@pytest.mark.parametrize("part", ["norm", "dropout"])
def test_a_hook_of_a_part_of_the_residual_path_is_called(part):
    around, calls = Residual(DIM, pre_norm=False, dropout=0.5), []
    getattr(around, part).register_forward_hook(lambda *call: calls.append(call))
    around(torch.randn(BATCH, LENGTH, DIM), torch.cos)
    assert len(calls) == 1


@pytest.mark.parametrize("pre_norm", [True, False])
def test_an_encoder_block_is_its_formula(pre_norm):
    block = randomized(EncoderBlock(attention(), FeedForward(DIM, HIDDEN), pre_norm=pre_norm, dropout=0.1))
    x, mask = inputs_of(), regard.Lengths([3, LENGTH])
    first, second = block.around_attention.norm, block.around_feed_forward.norm
    if pre_norm:
        y = x + block.attention(first(x), mask=mask)
        expected = y + block.feed_forward(second(y))
    else:
        y = first(x + block.attention(x, mask=mask))
        expected = second(y + block.feed_forward(y))
    torch.testing.assert_close(block(x, mask=mask), expected)


def decoder_block(*, pre_norm: bool, cross: bool = True, **options) -> DecoderBlock:
    other = attention(memory_dim=11, **options) if cross else None
    feed_forward = FeedForward(DIM, HIDDEN)
    block = DecoderBlock(attention(**options), feed_forward, cross=other, pre_norm=pre_norm, dropout=0.1)
    return randomized(block)


@pytest.mark.parametrize("pre_norm", [True, False])
def test_a_decoder_block_is_its_formula(pre_norm):
    block, x, memory = decoder_block(pre_norm=pre_norm), inputs_of(), inputs_of(SOURCE, 11)
    causal, padding = regard.Causal(), regard.Lengths([2, SOURCE])
    norms = (block.around_attention.norm, block.around_cross.norm, block.around_feed_forward.norm)
    layers = (
        lambda x: block.attention(x, mask=causal),
        lambda x: block.cross(x, memory, mask=padding),
        block.feed_forward,
    )
    expected = x
    for norm, layer in zip(norms, layers, strict=True):
        expected = expected + layer(norm(expected)) if pre_norm else norm(expected + layer(expected))
    torch.testing.assert_close(block(x, memory, mask=causal, memory_mask=padding), expected)


@pytest.mark.parametrize("pre_norm", [True, False])
@pytest.mark.parametrize("kv_heads", [1, 3])
@pytest.mark.parametrize("cross", [True, False])
def test_a_decoder_block_with_a_cache_is_the_one_without(pre_norm, kv_heads, cross):
    block = decoder_block(pre_norm=pre_norm, cross=cross, kv_heads=kv_heads)
    x, memory = inputs_of(), inputs_of(SOURCE, 11) if cross else None
    masks = {"mask": regard.Causal(), "memory_mask": regard.Lengths([2, SOURCE]) if cross else None}
    cache = BlockCache()
    parts = [block(part, memory, **masks, cache=cache) for part in x.split([2, 1, 4], 1)]
    torch.testing.assert_close(torch.cat(parts, 1), block(x, memory, **masks))
    assert (cache.own.length, cache.cross.length) == (LENGTH, SOURCE if cross else 0)


def test_a_block_cache_selects_rows_of_both_attentions():
    block, x, memory = decoder_block(pre_norm=True), inputs_of(), inputs_of(SOURCE, 11)
    rows, cache = torch.tensor([1, 1, 0]), BlockCache()
    block(x[:, :3], memory, mask=regard.Causal(), cache=cache)
    cache.select(rows)
    rest = block(x[rows, 3:], memory[rows], mask=regard.Causal(), cache=cache)
    torch.testing.assert_close(rest, block(x, memory, mask=regard.Causal())[rows, 3:])
