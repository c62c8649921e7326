from typing import Any

import pytest
import torch
from tests.unit.explain.models import Pair, Stack, opened, sequence
from torch import Tensor

import regard
from regard.explain import raw, rollout

LENGTH = 13


def watched(**options: Any) -> tuple[Any, list[Tensor]]:
    """What a small decoder recorded, and the weights of its layers, the mean of the heads."""
    torch.manual_seed(0)
    model = Stack(causal=True)
    with torch.no_grad():
        with regard.watch(model, *options.pop("record", ()), **options) as seen:
            model(sequence(LENGTH))
        layers = opened(model)
        for layer in layers:
            layer.weights = None
    with torch.enable_grad():
        model(sequence(LENGTH))
    return seen, [layer.weights.detach().mean(1) for layer in layers]  # type: ignore[union-attr]


def rolled(weights: list[Tensor]) -> Tensor:
    """The definition."""
    whole = torch.eye(LENGTH).expand_as(weights[0])
    for matrix in weights:
        whole = (matrix + torch.eye(LENGTH)) / 2 @ whole
    return whole


@pytest.mark.parametrize("source", ["kept", "weights", "all of the strongest"])
def test_rollout_is_the_product_over_layers(source: str) -> None:
    record = {"kept": (), "weights": (regard.Weights(),), "all of the strongest": (regard.TopK(LENGTH),)}[source]
    seen, weights = watched(record=record, keep=source == "kept")
    found = rollout(seen)
    torch.testing.assert_close(found.weights, rolled(weights), atol=1e-5, rtol=1e-4)
    assert found.exact
    torch.testing.assert_close(rollout(seen, queries=[-1, 3]).weights, found.weights[:, [-1, 3]])


def test_the_strongest_weights_give_bounds() -> None:
    seen, weights = watched(record=(regard.TopK(3),))
    found, true = rollout(seen), rolled(weights)
    assert not found.exact
    assert (found.weights <= true + 1e-6).all()
    assert (true <= found.weights + found.missing.unsqueeze(-1) + 1e-6).all()
    torch.testing.assert_close(found.weights.sum(-1) + found.missing, torch.ones(2, LENGTH))
    assert "at most" in repr(found)


def test_raw_attention_is_the_mean_of_the_heads() -> None:
    seen, weights = watched(keep=True)
    found = raw(seen, "layers.1", queries=[5])
    torch.testing.assert_close(found.weights, weights[1][:, [5]], atol=1e-6, rtol=1e-4)
    ((first, *_),) = found.top(3)
    assert first[0] == int(weights[1][0, 5].argmax())
    assert found.queries == (5,)


def test_steps_of_decoding_are_one_sequence() -> None:
    """Records of one query a step, stitched, roll out as those of the whole call."""
    query = torch.randn(1, 2, LENGTH, 8)

    class Steps(torch.nn.Module):
        def forward(self, whole: bool) -> None:
            parts = [slice(0, LENGTH)] if whole else [slice(0, 4), *(slice(at, at + 1) for at in range(4, LENGTH))]
            for part in parts:
                some, keys = query[:, :, part], query[:, :, : part.stop]
                regard.attend(some, keys, keys, mask=regard.Causal(), offset=part.start)

    found = []
    for whole in (True, False):
        model = Steps()
        with regard.watch(model, regard.TopK(LENGTH)) as seen:
            model(whole)
        found.append(rollout(seen).weights)
    torch.testing.assert_close(*found)


def test_errors_say_what_to_do() -> None:
    seen, _ = watched(record=(regard.Entropy(),))
    with pytest.raises(ValueError, match=r"keep=True\) for exact ones .* or regard\.TopK\(8\) for bounds"):
        rollout(seen)
    seen, _ = watched(keep=True)
    with pytest.raises(ValueError, match="there is no query 99: there are 13"):
        rollout(seen, queries=[99])
    with pytest.raises(ValueError, match=r"fits 'encoder\.\*'; there is 'layers\.0'"):
        rollout(seen, layers="encoder.*")
    model = Pair()
    with regard.watch(model, keep=True) as seen:
        model(sequence(5), sequence(7))
    with pytest.raises(ValueError, match=r"one sequence, here of 5 positions, but decoder\.0\.attention has 7"):
        rollout(seen)
    with regard.watch(model, regard.TopK(2), layers="*.cross") as seen:
        model(sequence(9), sequence(3))
    with pytest.raises(ValueError, match=r"record regard\.Received\(\) beside TopK"):
        rollout(seen)
