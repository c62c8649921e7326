"""Laws of positions: the papers' formulas, and offsets that go on where the text before ended."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.nn import Learned, Rotary, Sinusoidal, SinusoidalMap

BATCH, LENGTH, DIM = 2, 7, 10


def test_sinusoidal_is_the_papers_formula():
    found = Sinusoidal(DIM)(torch.zeros(1, LENGTH, DIM))[0]
    for t in range(LENGTH):
        for i in range(DIM // 2):
            angle = t / 10000 ** (2 * i / DIM)
            assert float(found[t, 2 * i]) == pytest.approx(math.sin(angle), abs=1e-6)
            assert float(found[t, 2 * i + 1]) == pytest.approx(math.cos(angle), abs=1e-6)


@pytest.mark.parametrize("layer", [Sinusoidal(DIM), Learned(DIM, 11)], ids=["sinusoidal", "learned"])
def test_positions_are_added_and_go_on_after_the_offset(layer):
    inputs = torch.randn(BATCH, LENGTH, DIM)
    added = layer(inputs) - inputs
    torch.testing.assert_close(added[0], added[1])
    assert len({tuple(row) for row in added[0].tolist()}) == LENGTH, "every position has its own vector"
    parts = [layer(part, offset) for part, offset in zip(inputs.split([3, 4], 1), (0, 3), strict=True)]
    torch.testing.assert_close(torch.cat(parts, 1), layer(inputs))


@pytest.mark.parametrize("layer", [Sinusoidal(DIM), Learned(DIM, 11)], ids=["sinusoidal", "learned"])
def test_every_input_may_have_a_position_of_its_own(layer):
    inputs = torch.randn(BATCH, LENGTH, DIM)
    position = torch.tensor([[0, 1, 2, 0, 1, 0, 10], [3, 4, 5, 6, 7, 8, 9]])
    found = layer(inputs, position)
    for row, column in itertools.product(range(BATCH), range(LENGTH)):
        alone = layer(inputs[row : row + 1, column : column + 1], int(position[row, column]))
        torch.testing.assert_close(found[row, column], alone[0, 0])


def test_learned_positions_are_trained_as_far_as_they_are_used():
    layer = Learned(DIM, 11)
    layer(torch.zeros(BATCH, LENGTH, DIM), 2).sum().backward()
    assert layer.table.grad.sum(1).tolist() == [0] * 2 + [BATCH * DIM] * LENGTH + [0] * 2


def test_a_text_longer_than_the_learned_positions():
    layer = Learned(DIM, 11)
    assert layer(torch.zeros(1, LENGTH, DIM), 4).shape == (1, LENGTH, DIM)
    with pytest.raises(
        ValueError,
        match=r"reaches position 12, but the model has learned 11 positions; .* positions=sinusoidal or rotary",
    ):
        layer(torch.zeros(1, LENGTH, DIM), 5)
    with pytest.raises(ValueError, match="reaches position 12, but the model has learned 11 positions"):
        layer(torch.zeros(1, 2, DIM), torch.tensor([[11, 0]]))


@given(st.integers(0, 97), st.integers(0, 97), st.integers(0, 1000))
def test_rotary_scores_depend_on_the_difference_of_positions_alone(i, j, shift):
    rotary = Rotary(DIM).double()
    query, key = torch.randn(2, 1, 1, 1, DIM, dtype=torch.float64)
    score = (rotary(query, i) * rotary(key, j)).sum()
    shifted = (rotary(query, i + shift) * rotary(key, j + shift)).sum()
    torch.testing.assert_close(shifted, score, atol=1e-9, rtol=0)


def test_rotary_turns_pairs_by_the_papers_angles():
    head = torch.randn(DIM, dtype=torch.float64)
    found = Rotary(DIM).double()(head.view(1, 1, 1, DIM), 5).flatten()
    for i in range(DIM // 2):
        angle = 5 * 10000 ** (-2 * i / DIM)
        pair = torch.complex(head[i], head[i + DIM // 2]) * torch.polar(
            torch.ones((), dtype=torch.float64), torch.tensor(angle, dtype=torch.float64)
        )
        turned = torch.complex(found[i], found[i + DIM // 2])
        torch.testing.assert_close(turned, pair, atol=1e-6, rtol=0)


def test_rotary_keeps_lengths_and_position_zero():
    inputs = torch.randn(BATCH, 3, LENGTH, DIM)
    turned = Rotary(DIM)(inputs)
    torch.testing.assert_close(turned.norm(dim=-1), inputs.norm(dim=-1))
    assert torch.equal(turned[:, :, 0], inputs[:, :, 0])
    assert not torch.allclose(turned[:, :, 1:], inputs[:, :, 1:])


def test_rotary_with_an_offset_for_each_row():
    rotary, inputs = Rotary(DIM), torch.randn(3, 2, LENGTH, DIM)
    offsets = [0, 5, 11]
    together = rotary(inputs, torch.tensor(offsets))
    for row, offset in enumerate(offsets):
        torch.testing.assert_close(together[row], rotary(inputs[row : row + 1], offset)[0])


def test_frequencies_are_no_part_of_the_weights():
    assert not Sinusoidal(DIM).state_dict()
    assert not Rotary(DIM).state_dict()
    assert list(Learned(DIM, 3).state_dict()) == ["table"]


def test_widths_are_even():
    with pytest.raises(ValueError, match="Sinusoidal pairs sines with cosines, so dim must be even, got 7"):
        Sinusoidal(7)
    with pytest.raises(ValueError, match="Rotary turns pairs of features, so head_dim must be even, got 7"):
        Rotary(7)


def test_a_map_has_the_sinusoids_of_its_rows_and_of_its_columns():
    layer, plain = SinusoidalMap(12), Sinusoidal(6)
    found = layer(torch.zeros(2, 5, 7, 12))
    rows, columns = plain(torch.zeros(1, 5, 6))[0], plain(torch.zeros(1, 7, 6))[0]
    for row in range(5):
        for column in range(7):
            torch.testing.assert_close(found[1, row, column], torch.cat((rows[row], columns[column])))
    inputs = torch.randn(1, 5, 7, 12)
    torch.testing.assert_close(layer(inputs) - inputs, found[:1])
    with pytest.raises(ValueError, match="dim must be a multiple of 4, got 6"):
        SinusoidalMap(6)
