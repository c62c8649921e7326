"""Laws of the Hopfield memory: its energy never rises, a step is its gradient, and noisy patterns are retrieved."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import regard
from regard.nn import Hopfield

BATCH, STATES, PATTERNS, DIM = 2, 5, 7, 11
ROUNDING = 1e-9


def random(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape, dtype=torch.float64)


def state_and_patterns() -> tuple[Tensor, Tensor]:
    return random(BATCH, STATES, DIM), random(BATCH, PATTERNS, DIM)


def test_a_step_is_its_formula():
    state, patterns = state_and_patterns()
    expected = (0.7 * state @ patterns.mT).softmax(-1) @ patterns
    torch.testing.assert_close(Hopfield(0.7)(state, patterns), expected)


def test_steps_follow_each_other():
    state, patterns = state_and_patterns()
    together, step = Hopfield(0.7, steps=3)(state, patterns), Hopfield(0.7)
    torch.testing.assert_close(together, step(step(step(state, patterns), patterns), patterns))


@settings(max_examples=25)
@given(
    beta=st.floats(0.01, 30.0),
    scale=st.floats(0.1, 3.0),
    states=st.integers(1, 5),
    patterns=st.integers(1, 7),
    dim=st.integers(1, 11),
)
def test_the_energy_never_rises(beta, scale, states, patterns, dim):
    memory = Hopfield(beta)
    state, stored = random(BATCH, states, dim, scale=2 * scale), random(BATCH, patterns, dim, scale=scale)
    energy = memory.energy(state, stored)
    for _ in range(6):
        state = memory(state, stored)
        before, energy = energy, memory.energy(state, stored)
        assert (energy <= before + ROUNDING * before.abs().clamp_min(1.0)).all()


def test_the_energy_is_the_papers_and_in_its_bounds():
    memory = Hopfield(0.7)
    state, patterns = state_and_patterns()
    largest = patterns.norm(dim=-1).amax(-1, keepdim=True)
    state = memory(state, patterns)  # within the largest norm, as the bounds suppose
    constant = math.log(PATTERNS) / 0.7 + 0.5 * largest.square()
    by_hand = 0.5 * state.square().sum(-1) - (0.7 * state @ patterns.mT).exp().sum(-1).log() / 0.7
    energy = memory.energy(state, patterns)
    torch.testing.assert_close(energy, by_hand)
    assert (energy + constant >= 0).all()
    assert (energy + constant <= 2 * largest.square()).all()


def test_a_step_is_the_energys_gradient():
    memory = Hopfield(1.3)
    state, patterns = state_and_patterns()
    state.requires_grad_()
    (gradient,) = torch.autograd.grad(memory.energy(state, patterns).sum(), state)
    torch.testing.assert_close(state - gradient, memory(state, patterns))


@pytest.mark.parametrize("steps", [1, 3])
def test_noisy_and_incomplete_patterns_are_retrieved(steps):
    patterns = torch.randint(0, 2, (BATCH, 101, 67)).double() * 2 - 1
    memory = Hopfield(1.0, steps=steps)
    flipped = torch.where(torch.rand(patterns.shape) < 0.15, -patterns, patterns)
    torch.testing.assert_close(memory(flipped, patterns), patterns, atol=1e-2, rtol=0)
    half = torch.cat((patterns[..., :43], torch.zeros(BATCH, 101, 24)), -1)
    torch.testing.assert_close(memory(half, patterns), patterns, atol=1e-2, rtol=0)


def test_a_small_beta_retrieves_the_mean():
    state, patterns = state_and_patterns()
    found = Hopfield(1e-6)(state, patterns)
    torch.testing.assert_close(found, patterns.mean(1, keepdim=True).expand_as(found), atol=1e-4, rtol=0)


def test_a_hidden_pattern_equals_one_that_is_not_stored():
    state, patterns = state_and_patterns()
    memory, counts = Hopfield(0.7, steps=3), [3, PATTERNS]
    mask = regard.Lengths(counts)
    together, energy = memory(state, patterns, mask=mask), memory.energy(state, patterns, mask=mask)
    for row, count in enumerate(counts):
        alone = state[row : row + 1], patterns[row : row + 1, :count]
        torch.testing.assert_close(together[row], memory(*alone)[0])
        torch.testing.assert_close(energy[row], memory.energy(*alone)[0])


def test_an_empty_memory_retrieves_nothing():
    state, patterns = state_and_patterns()
    memory, nothing = Hopfield(0.7, steps=2), regard.Lengths([0, PATTERNS])
    assert (memory(state, patterns, mask=nothing)[0] == 0).all()
    assert (memory.energy(state, patterns, mask=nothing)[0] == torch.inf).all()


def test_watch_sees_each_step_by_name():
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.memory = Hopfield(0.7, steps=3)

        def forward(self, state: Tensor, patterns: Tensor) -> Tensor:
            return self.memory(state, patterns)

    model, (state, patterns) = Model(), state_and_patterns()
    with regard.watch(model, regard.Weights()) as seen:
        found = model(state, patterns)
    weights = [call.weights for call in seen.calls("memory")]
    assert [tuple(step.shape) for step in weights] == [(BATCH, 1, STATES, PATTERNS)] * 3
    torch.testing.assert_close(weights[-1].squeeze(1) @ patterns, found)


def test_options_that_do_not_fit():
    with pytest.raises(ValueError, match="Hopfield needs beta > 0, got 0"):
        Hopfield(0.0)
    with pytest.raises(ValueError, match="Hopfield needs steps >= 1, got 0"):
        Hopfield(1.0, steps=0)
    assert repr(Hopfield(2.0, steps=3)) == "Hopfield(beta=2.0, steps=3)"
