"""Steps of decoding, stitched, are the one call they are steps of."""

import re

import pytest
import torch
from torch import Tensor, nn

import regard


class Steps(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return regard.attend(inputs, inputs, inputs)


@pytest.fixture
def inputs() -> Tensor:
    return torch.randn(2, 3, 5, 7)


class Decoder(nn.Module):
    """Attends from the newest of its inputs to all it was given so far."""

    def __init__(self) -> None:
        super().__init__()
        self.keys = torch.zeros(2, 3, 0, 7)

    def forward(self, inputs: Tensor, rows: list[int] | None = None) -> Tensor:
        self.keys = torch.cat((self.keys if rows is None else self.keys[rows], inputs), 2)
        offset = self.keys.shape[2] - inputs.shape[2]
        return regard.attend(inputs, self.keys, self.keys, mask=regard.Causal(), offset=offset)


RECORDS = {
    "weights": regard.Weights(),
    "topk": regard.TopK(3),
    "received": regard.Received(),
    "entropy": regard.Entropy(),
}


def test_steps_stitched_are_the_call_they_are_steps_of() -> None:
    inputs = torch.randn(2, 3, 9, 7)
    model = Decoder()
    with regard.watch(model, **RECORDS) as seen:
        for steps in inputs.split((4, 1, 1, 3), 2):
            model(steps)
    stitched = seen.stitched("")
    _, whole = regard.observe(inputs, inputs, inputs, mask=regard.Causal(), record=RECORDS)
    for name in ("weights", "received", "entropy"):
        torch.testing.assert_close(stitched[name], whole[name])
    assert torch.equal(stitched.topk.keys, whole.topk.keys)


def test_rows_that_a_search_reorders_are_followed() -> None:
    """Two rows, of which the second step takes the other: a sequence is what it came from, step by step."""
    prompt, step = torch.randn(2, 3, 4, 7), torch.randn(2, 3, 1, 7)
    model = Decoder()
    with regard.watch(model, **RECORDS) as seen:
        model(prompt)
        model(step, rows=[1, 1])
    rows = torch.tensor([[1, 0], [1, 1]])
    stitched = seen.stitched("", rows)
    inputs = torch.cat((prompt[[1, 1]], step), 2)
    _, whole = regard.observe(inputs, inputs, inputs, mask=regard.Causal(), record=RECORDS)
    torch.testing.assert_close(stitched.weights, whole.weights)
    torch.testing.assert_close(stitched.received, whole.received)


def test_what_counts_the_queries_of_one_call_is_not_stitched(inputs: Tensor) -> None:
    model = Steps()
    with regard.watch(model, regard.Pooled(2, 2)) as seen:
        model(inputs)
    text = "Pooled(rows=2, columns=2) counts the queries of one call: read them from calls('')"
    with pytest.raises(ValueError, match=re.escape(text)):
        seen.stitched("")


def test_what_an_entropy_brings_along_is_watched_and_stitched(inputs: Tensor) -> None:
    class Partial(nn.Module):
        def forward(self, inputs: Tensor) -> tuple[Tensor, regard.Seen]:
            return regard.observe(inputs, inputs, inputs, normalize=regard.Sigmoid(), record=[regard.Entropy()])

    model = Partial()
    with regard.watch(model, regard.Entropy()) as seen:
        _, own = model(inputs)
        model(inputs)
    assert list(own) == list(seen[""]) == ["entropy", "total"]
    assert torch.equal(seen.stitched("").total, torch.cat((own.total, own.total), 2))
