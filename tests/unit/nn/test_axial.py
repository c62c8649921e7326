"""Axial attention is dense attention among the cells of a column, then among those of a row."""

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.nn import AxialAttention, EncoderBlock, FeedForward, MultiHeadAttention

BATCH, HEIGHT, WIDTH, DIM, HEADS = 2, 5, 7, 12, 3


def attention(**options) -> MultiHeadAttention:
    return MultiHeadAttention(DIM, HEADS, **options)


def block() -> EncoderBlock:
    return EncoderBlock(attention(), FeedForward(DIM, 11), pre_norm=True, dropout=0.1)


def axial(height: nn.Module, width: nn.Module) -> AxialAttention:
    """In float64, in evaluation mode, with no parameter left at 0 or 1."""
    layer = AxialAttention(height, width).double().eval()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def inputs_of(height: int = HEIGHT, width: int = WIDTH) -> Tensor:
    return torch.randn(BATCH, height, width, DIM, dtype=torch.float64, requires_grad=True)


def reached(context: Tensor, inputs: Tensor) -> Tensor:
    """Which cells of the first map have a gradient from `context`."""
    (gradient,) = torch.autograd.grad(context.sum(), inputs, retain_graph=True)
    return (gradient[0] != 0).any(-1)


@pytest.mark.parametrize("make", [attention, block])
def test_it_is_dense_attention_under_the_mask_of_each_axis(make):
    layer, inputs = axial(make(), make()), inputs_of()
    row, column = torch.arange(HEIGHT * WIDTH) // WIDTH, torch.arange(HEIGHT * WIDTH) % WIDTH
    cells = layer.height(inputs.flatten(1, 2), mask=regard.Dense(column[:, None] == column))
    cells = layer.width(cells, mask=regard.Dense(row[:, None] == row))
    torch.testing.assert_close(layer(inputs), cells.view(inputs.shape))


def test_two_steps_reach_every_cell():
    layer, inputs = axial(attention(), attention()), inputs_of()
    assert reached(layer(inputs)[0, 1, 2], inputs).all()
    layer.width = nn.Identity()
    layer.width.forward = lambda lines, mask: lines
    assert reached(layer(inputs)[0, 1, 2], inputs).nonzero().tolist() == [[y, 2] for y in range(HEIGHT)]


def test_positions_count_along_the_axis():
    inputs = inputs_of()
    causal = axial(attention(mask=regard.Causal()), attention(mask=regard.Causal()))
    inside = reached(causal(inputs)[0, 2, 4], inputs)
    assert inside[:3, :5].all()
    assert inside.sum() == 3 * 5


@pytest.mark.parametrize("make", [lambda: attention(backend="reference"), attention])
def test_padding_a_map_changes_nothing(make):
    layer, inputs = axial(make(), make()), inputs_of()
    sizes = [(3, 7), (5, 2)]
    strange = torch.nan if layer.height.backend == "reference" else 1e3  # sdpa lets a hidden NaN through
    padded = torch.full_like(inputs, strange)
    for row, (height, width) in enumerate(sizes):
        padded[row, :height, :width] = inputs[row, :height, :width]
    together = layer(padded, sizes=torch.tensor(sizes))
    for row, (height, width) in enumerate(sizes):
        alone = layer(inputs[row : row + 1, :height, :width])
        torch.testing.assert_close(together[row : row + 1, :height, :width], alone)


def test_watch_sees_both_axes_by_name():
    layer, inputs = axial(attention(), block()), inputs_of()
    with regard.watch(layer, regard.Weights()) as seen:
        layer(inputs)
    assert list(seen) == ["height", "width.attention"]
    assert seen["height"].weights.shape == (BATCH * WIDTH, HEADS, HEIGHT, HEIGHT)
    assert seen["width.attention"].weights.shape == (BATCH * HEIGHT, HEADS, WIDTH, WIDTH)


def test_sizes_that_do_not_fit(unchecked):
    layer, inputs = axial(attention(), attention()), inputs_of()
    with pytest.raises(ValueError, match=r"height and width of each map, \(batch, 2\) = \(2, 2\), got \(1, 2\)"):
        layer(inputs, sizes=torch.tensor([[3, 2]]))
    with pytest.raises(ValueError, match="map 1 is said to be 5 x 8, but the maps are padded to 5 x 7"):
        layer(inputs, sizes=torch.tensor([[3, 2], [5, 8]]))
