"""Laws of the moving average of weights."""

import pytest
import torch
from torch import nn

from regard.training.callbacks.moving_average import MovingAverage


class Tied(nn.Module):
    """Two layers with one matrix, and a buffer."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("count", torch.zeros((), dtype=torch.long))


def steps(average: MovingAverage, model: Tied, first: int, last: int) -> list[torch.Tensor]:
    """Moves the weights in steps `first` to `last`, not included; the matrix after each."""
    found = []
    for step in range(first, last):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step)))
            model.count += 1
        average.update()
        found.append(model.first.weight.detach().clone().double())
    return found


@pytest.mark.parametrize("decay", [0.15, 0.9, 0.9999])
def test_it_is_the_recursion_with_a_decay_that_grows(decay):
    model = Tied()
    average = MovingAverage(model, decay)
    weights = steps(average, model, 0, 30)
    expected = weights[0]
    for n, weight in enumerate(weights[1:], 1):
        keep = min(decay, (1 + n) / (10 + n))
        expected = keep * expected + (1 - keep) * weight
    with average.in_place():
        torch.testing.assert_close(model.first.weight.double(), expected, atol=1e-6, rtol=1e-6)
        assert model.second.weight is model.first.weight
        assert model.count == 30


def test_the_weights_in_training_come_back_after_an_error_too():
    model = Tied()
    average = MovingAverage(model, 0.9)
    weights = steps(average, model, 0, 3)

    def break_off() -> None:
        with average.in_place():
            assert not torch.equal(model.first.weight.double(), weights[-1])
            raise KeyError

    with pytest.raises(KeyError):
        break_off()
    assert torch.equal(model.first.weight.double(), weights[-1])


def test_a_state_goes_on_where_it_was():
    model = Tied()
    whole, first = MovingAverage(model, 0.99), MovingAverage(model, 0.99)
    steps(whole, model, 0, 7)
    steps(first, model, 0, 4)
    second = MovingAverage(model, 0.99, first.state_dict())
    steps(second, model, 4, 7)
    for one, other in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(one, other)


def test_without_a_decay_there_is_none():
    model = Tied()
    average = MovingAverage(model, 0.0)
    weights = steps(average, model, 0, 2)
    with average.in_place():
        assert torch.equal(model.first.weight.double(), weights[-1])
    assert average.state_dict() is None
