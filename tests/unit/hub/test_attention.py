"""What reaches Regard's attention from a model of `transformers`, and what is refused."""

import re

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaModel, TrOCRConfig, TrOCRForCausalLM

import regard
from regard.hub import adopt, attention, mask

BATCH, HEADS, KV_HEADS, LENGTH, WIDTH = 2, 6, 3, 5, 8


class Layer(nn.Module):
    is_causal = True


def tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    query = torch.randn(BATCH, HEADS, LENGTH, WIDTH)
    key, value = torch.randn(2, BATCH, KV_HEADS, LENGTH, WIDTH)
    return query, key, value


def context_of(*given: torch.Tensor, **options) -> torch.Tensor:
    return regard.attend(*given, **options).transpose(1, 2)


def test_without_a_mask_the_layer_says_whether_it_is_causal():
    given = tensors()
    layer = Layer()
    causal, every = context_of(*given, mask=regard.Causal()), context_of(*given)
    assert torch.equal(attention(layer, *given, None)[0], causal)
    assert torch.equal(attention(layer, *given, None, is_causal=False)[0], every)
    layer.is_causal = False
    assert torch.equal(attention(layer, *given, None)[0], every)
    query, key, value = given  # a step of decoding sees all
    step = attention(Layer(), query[:, :, -1:], key, value, None)[0]
    torch.testing.assert_close(step, causal[:, -1:])


def test_each_form_of_a_mask():
    given = tensors()
    allowed = torch.rand(BATCH, 1, LENGTH, LENGTH) < 0.5
    allowed[..., 0] = True
    added = torch.zeros(allowed.shape).masked_fill(~allowed, torch.finfo(torch.float32).min)
    told = mask(BATCH, LENGTH, LENGTH, mask_function=lambda b, h, q, k: allowed[b, 0, q, k])
    expected = context_of(*given, mask=regard.Dense(allowed))
    for one in (allowed, added, told):
        torch.testing.assert_close(attention(Layer(), *given, one)[0], expected)


def test_caps_sinks_and_biases():
    given = tensors()
    bias, sink = torch.randn(1, HEADS, LENGTH, LENGTH), torch.randn(HEADS)
    found, weights = attention(
        Layer(), *given, None, scaling=0.3, is_causal=False, softcap=0.7, s_aux=sink, position_bias=bias
    )
    score = regard.SoftCap(regard.ScaledDot(0.3), 0.7) + regard.Bias(bias)
    expected = context_of(*given, score=score, normalize=regard.Softmax(sink=sink))
    torch.testing.assert_close(found, expected)
    assert weights is None
    assert attention(Layer(), *given, None, output_attentions=True)[1].shape == (BATCH, HEADS, LENGTH, LENGTH)


@pytest.mark.parametrize("name", ["indices", "head_mask"])
def test_what_is_not_honoured_is_refused(name):
    text = f'Layer attends with {name}=, which attn_implementation="regard" does not know'
    with pytest.raises(NotImplementedError, match=re.escape(text)):
        attention(Layer(), *tensors(), None, **{name: torch.ones(1)})
    with pytest.raises(NotImplementedError, match=re.escape("no paged cache (object): generate with a dynamic")):
        attention(Layer(), *tensors(), None, cache=object())


def test_a_model_is_loaded_by_name(tmp_path):
    config = LlamaConfig(
        vocab_size=31, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2
    )
    LlamaModel(config).save_pretrained(tmp_path)
    model = LlamaModel.from_pretrained(tmp_path, attn_implementation="regard")
    with regard.watch(model, regard.Entropy()) as seen:
        model(torch.arange(7).unsqueeze(0))
    assert list(seen) == ["layers.0.self_attn"]


def test_dropout_is_of_training_alone():
    config = LlamaConfig(
        vocab_size=31,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        attention_dropout=0.5,
    )
    model, tokens = adopt(LlamaModel(config)), torch.arange(7).unsqueeze(0)
    first, second = (model.train()(tokens).last_hidden_state for _ in range(2))
    assert not torch.equal(first, second)
    first, second = (model.eval()(tokens).last_hidden_state for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.usefixtures("unchecked")
def test_only_models_of_transformers_are_adopted():
    with pytest.raises(TypeError, match="adopt takes a model of transformers, got Linear"):
        adopt(nn.Linear(2, 3))


@pytest.mark.filterwarnings("ignore")
def test_a_model_with_attention_of_its_own_is_not_adopted():
    config = TrOCRConfig(vocab_size=31, d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16)
    with pytest.raises(ValueError, match=r"these parts compute attention in code of their own.*TrOCRForCausalLM"):
        adopt(TrOCRForCausalLM(config))
