"""Autocast casts as it does for torch's own call: everything to its dtype, except float64."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

import regard
from regard.models.transformer import Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy

BACKENDS = ("reference", "sdpa")


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("given", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("target", [torch.bfloat16, torch.float16])
def test_to_its_dtype(backend: str, given: torch.dtype, target: torch.dtype) -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7).to(given)
    with torch.autocast("cpu", dtype=target):
        context = regard.attend(query, key, value, backend=backend)
        theirs = functional.scaled_dot_product_attention(query, key, value)
    assert context.dtype == theirs.dtype == target
    cast = regard.attend(query.to(target), key.to(target), value.to(target), backend=backend)
    assert torch.equal(context, cast)


@pytest.mark.parametrize("backend", BACKENDS)
def test_mixed_dtypes_become_one(backend: str) -> None:
    """As they come out of the layers of a model under autocast."""
    query, key, value = torch.randn(3, 2, 3, 5, 7)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context = regard.attend(query, key.bfloat16(), value.half(), backend=backend)
    assert context.dtype == torch.bfloat16


@pytest.mark.parametrize("backend", BACKENDS)
def test_float64_is_left(backend: str) -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7, dtype=torch.float64)
    expected = regard.attend(query, key, value, backend=backend)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context = regard.attend(query, key, value, backend=backend)
        assert functional.scaled_dot_product_attention(query, key, value).dtype == torch.float64
        with pytest.raises(TypeError, match=r"must share a dtype, got torch\.float64, torch\.bfloat16"):
            regard.attend(query, key.float(), value)
    assert torch.equal(context, expected)


@pytest.mark.parametrize(
    "score",
    [
        regard.General(7, heads=3),
        regard.Additive(7, 5, heads=3),
        regard.SoftCap(regard.Dot(), 2.0),
        regard.Dot() + regard.Bias(torch.randn(5, 5)),
    ],
    ids=["general", "additive", "soft cap", "bias"],
)
def test_nothing_inside_is_cast_again(score: regard.Score) -> None:
    """The scores of 16-bit queries and keys are computed in float32 under autocast too."""
    query, key, value = torch.randn(3, 2, 3, 5, 7).bfloat16()
    expected = regard.attend(query, key, value, score=score, backend="reference")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context, seen = regard.observe(query, key, value, score=score, record=[regard.Weights()])
    assert torch.equal(context, expected)
    assert seen.weights.dtype == torch.float32


def test_gradients_come_back_in_the_dtype_of_the_inputs() -> None:
    query, key, value = (torch.randn(2, 3, 5, 7, requires_grad=True) for _ in range(3))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        context = regard.attend(query, key, value, mask=regard.Causal())
    context.float().sum().backward()
    assert all(tensor.grad.dtype == torch.float32 for tensor in (query, key, value))


class _Casts(TorchDispatchMode):
    """How often each of a model's weights is converted to another type."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.names = {weight.data_ptr(): name for name, weight in model.named_parameters()}
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function is torch.ops.aten._to_copy.default and result.dtype != args[0].dtype:
            self.found[self.names.get(args[0].data_ptr(), "")] += 1
        return result


def test_weights_are_cast_once_a_step() -> None:
    """Forward, loss and backward read the same bfloat16 copy of each weight, the one of a tied table too."""
    shape = Layers(dim=16, heads=2, feed_forward=32, layers=2)
    model = Transformer(23, 23, encoder=shape, decoder=shape)
    tokens, lengths = torch.randint(4, 23, (3, 7)), torch.tensor([7, 5, 2])
    with _Casts(model) as seen:
        with torch.autocast("cpu", torch.bfloat16):
            hidden = model(tokens, lengths, tokens)
            loss = linear_cross_entropy(hidden.flatten(0, 1), model.output_weight, tokens.flatten())
        loss.backward()
    casts = {name: count for name, count in seen.found.items() if name}
    assert len(casts) > 30
    assert set(casts.values()) == {1}, casts
