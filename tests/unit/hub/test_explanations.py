"""Explanations of models of `transformers`, against eager attention's own weights and their gradients."""

from typing import Any

import pytest
import torch
from tests.parity.hub_models import DECODERS, MODELS
from tests.unit.explain.definition import positive, propagated, relevance_of_pair
from torch import Tensor

import regard
from regard.explain import cross_relevance, head_importance, relevance, rollout
from regard.hub import adopt


def both(name: str) -> tuple[Any, Any, dict[str, Tensor]]:
    """A small model on eager attention, the same on Regard's, and inputs without padding."""
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        found.append((DECODERS.get(name) or MODELS[name][0])().eval().double())  # products of small numbers
    inputs = {key: value for key, value in MODELS[name][1]().items() if "mask" not in key}
    inputs = {key: value.double() if value.is_floating_point() else value for key, value in inputs.items()}
    found[0].set_attn_implementation("eager")
    return found[0], adopt(found[1]), inputs


def target(output: Any) -> Tensor:
    """One number a batch row, of the last position's output."""
    return (output.logits if hasattr(output, "logits") else output.last_hidden_state)[:, -1, :7].pow(2).sum(-1)


def slopes(output: Any, weights: tuple[Tensor, ...]) -> list[Tensor]:
    gradients = torch.autograd.grad(target(output).sum(), weights, retain_graph=True, allow_unused=True)
    pairs = zip(weights, gradients, strict=True)
    return [positive(one, torch.zeros_like(one) if slope is None else slope) for one, slope in pairs]


@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gpt2", "bert", "vit"])
def test_relevance_is_that_of_eager_weights(name: str) -> None:
    eager, ours, inputs = both(name)
    output = eager(**inputs, output_attentions=True)
    expected = propagated(slopes(output, output.attentions))[:, [-1]]
    with regard.watch(ours, keep=True) as seen:
        found = ours(**inputs)
    torch.testing.assert_close(relevance(seen, target(found)).weights, expected, atol=1e-12, rtol=1e-5)
    whole = torch.eye(expected.shape[-1], dtype=torch.float64).expand(len(expected), -1, -1)
    for weights in output.attentions:
        whole = (weights.mean(1) + torch.eye(expected.shape[-1], dtype=torch.float64)) / 2 @ whole
    torch.testing.assert_close(rollout(seen).weights, whole, atol=1e-12, rtol=1e-5)
    assert list(head_importance(seen, target(found))) == list(seen)


@pytest.mark.parametrize("name", ["t5", "bart", "marian", "whisper"])
def test_relevance_of_an_encoder_decoder_is_that_of_eager_weights(name: str) -> None:
    """By the names that cross_relevance knows the layers by."""
    eager, ours, inputs = both(name)
    output = eager(**inputs, output_attentions=True)
    parts = [slopes(output, getattr(output, f"{part}_attentions")) for part in ("encoder", "decoder", "cross")]
    expected, own = relevance_of_pair(*parts)
    with regard.watch(ours, keep=True) as seen:
        found = ours(**inputs)
    to_source, to_output = cross_relevance(seen, target(found))
    torch.testing.assert_close(to_source.weights, expected[:, [-1]], atol=1e-12, rtol=1e-5)
    torch.testing.assert_close(to_output.weights, own[:, [-1]], atol=1e-12, rtol=1e-5)
