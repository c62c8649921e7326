import re

import pytest
import torch

import regard


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_temperature_is_positive(temperature: float) -> None:
    with pytest.raises(ValueError, match=re.escape(f"Softmax needs a temperature > 0, got {temperature}")):
        regard.Softmax(temperature)


def test_own_normalizers_say_what_they_are() -> None:
    class Mine(regard.Normalizer):
        pass

    query, key, value = torch.randn(3, 2, 3, 5, 7)
    with pytest.raises(NotImplementedError, match=r"Mine does not define weights\(\)"):
        regard.attend(query, key, value, normalize=Mine())


def test_softmax_by_hand() -> None:
    scores = torch.tensor([[0.0, 1.0, 3.0], [2.0, 2.0, 2.0]], dtype=torch.float64).log().view(1, 1, 2, 3)
    allowed = torch.tensor([[True, True, True], [False, True, True]]).view(1, 1, 2, 3)
    weights = regard.Softmax().weights(scores, allowed)
    assert weights.flatten().tolist() == pytest.approx([0.0, 0.25, 0.75, 0.0, 0.5, 0.5])
    squared = regard.Softmax(0.5).weights(scores, allowed)
    assert squared.flatten().tolist() == pytest.approx([0.0, 0.1, 0.9, 0.0, 0.5, 0.5])


def test_rows_of_minus_infinity_are_nothing() -> None:
    scores = torch.full((1, 1, 2, 3), -torch.inf, requires_grad=True)
    weights = regard.Softmax().weights(scores, None)
    assert not weights.any()
    weights.sum().backward()
    assert not scores.grad.any()
