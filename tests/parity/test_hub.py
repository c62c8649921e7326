"""Models of `transformers` on Regard's attention are the same models: outputs, weights, gradients, generated tokens."""

from typing import Any

import pytest
import torch
from tests.parity.hub_models import DECODERS, MODELS
from torch import Tensor

import regard
import regard.hub

CLOSE = {"atol": 2e-5, "rtol": 2e-5}
ARCHITECTURES = pytest.mark.parametrize("name", MODELS)


def built(name: str) -> tuple[Any, dict[str, Tensor]]:
    torch.manual_seed(0)
    model, inputs = MODELS[name]
    return model().eval(), inputs()


def output_of(results: Any) -> Tensor:
    return results.logits if getattr(results, "logits", None) is not None else results.last_hidden_state


def real(output: Tensor, inputs: dict[str, Tensor]) -> Tensor:
    """What stands for no padding."""
    mask = inputs.get("attention_mask")
    fits = mask is not None and output.shape[:2] == mask.shape
    return output[mask.bool()] if fits else output


@ARCHITECTURES
def test_outputs_and_weights_are_those_of_eager(name):
    model, inputs = built(name)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**inputs, output_attentions=True)
        regard.hub.adopt(model)
        found, plain = model(**inputs, output_attentions=True), model(**inputs)
    for results in (found, plain):
        torch.testing.assert_close(real(output_of(results), inputs), real(output_of(expected), inputs), **CLOSE)
    kinds = [key for key in expected if "attentions" in key and expected[key]]
    assert kinds
    for key in kinds:
        assert len(found[key]) == len(expected[key])
        for weights, right in zip(found[key], expected[key], strict=True):
            mine, theirs = (real(one.transpose(1, 2), inputs) for one in (weights, right))
            torch.testing.assert_close(mine, theirs, **CLOSE)


@ARCHITECTURES
def test_gradients_are_those_of_eager(name):
    model, inputs = built(name)
    gradients = []
    for implementation in ("eager", "regard"):
        model.set_attn_implementation(implementation)
        model.zero_grad()
        real(output_of(model(**inputs)), inputs).square().mean().backward()
        gradients.append({key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, right in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], right, atol=1e-5 + 1e-4 * float(right.abs().max()), rtol=1e-4)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("name", DECODERS)
def test_it_generates_what_eager_does(name, cache):
    model, inputs = built(name)
    tokens = []
    for implementation in ("eager", "regard"):
        model.set_attn_implementation(implementation)
        tokens.append(
            model.generate(
                **inputs, max_new_tokens=9, do_sample=False, cache_implementation=cache, disable_compile=True
            )
        )
    assert torch.equal(*tokens)


@ARCHITECTURES
def test_watch_sees_what_eager_returns(name):
    model, inputs = built(name)
    model.set_attn_implementation("eager")
    with torch.no_grad():
        expected = model(**inputs, output_attentions=True)
        regard.hub.adopt(model)
        with regard.watch(model, regard.Weights()) as seen:
            model(**inputs)
    right = [weights for key in expected if "attentions" in key and expected[key] for weights in expected[key]]
    assert len(seen) == len(right)
    left = list(right)
    for module in seen:
        weights = seen[module].weights
        at = next(
            at
            for at, one in enumerate(left)
            if one.shape == weights.shape
            and torch.allclose(real(one.transpose(1, 2), inputs), real(weights.transpose(1, 2), inputs), **CLOSE)
        )
        del left[at]


def test_what_a_beam_search_saw_is_stitched():
    model, inputs = built("llama")
    regard.hub.adopt(model)
    with regard.watch(model, regard.Weights(), layers="model.layers.*") as seen:
        found = model.generate(
            **inputs,
            max_new_tokens=6,
            num_beams=3,
            do_sample=False,
            return_dict_in_generate=True,
            output_attentions=True,
        )
    rows = found.beam_indices.clamp(min=0)
    assert any(len(set(row.tolist())) > 1 for row in rows)  # rows did change places
    stitched = seen.stitched("model.layers.1.self_attn", rows).weights
    prompt = inputs["input_ids"].shape[1]
    assert stitched.shape[2:] == (prompt + rows.shape[1] - 1, prompt + rows.shape[1] - 1)
    for step in range(rows.shape[1]):
        right = found.attentions[step][1][rows[:, step]]
        where = slice(0, prompt) if step == 0 else slice(prompt + step - 1, prompt + step)
        torch.testing.assert_close(stitched[:, :, where, : right.shape[-1]], right, **CLOSE)
