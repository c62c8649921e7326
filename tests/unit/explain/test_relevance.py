"""Relevance against its definition: matrices of weights and their gradients, multiplied as the paper does."""

import pytest
import torch
from tests.unit.explain.definition import positive, propagated, relevance_of_pair
from tests.unit.explain.models import HEADS, WIDTH, Attention, Pair, Stack, opened, sequence
from torch import Tensor, nn

import regard
from regard.explain import cross_relevance, head_importance, pooled_relevance, relevance
from regard.nn import AdditivePooling


def matrices(layers: list[Attention], size: tuple[int, int]) -> list[Tensor]:
    """What relevance multiplies, from the weights of layers that were opened and the gradients left in them."""
    found = [positive(layer.weights, layer.weights.grad) for layer in layers]  # type: ignore[union-attr,arg-type]
    assert found[0].shape[1:] == size
    return found


def target(output: Tensor) -> Tensor:
    return output[:, -2, :5].square().sum(-1)  # one number a batch row, of the last query but one


@pytest.mark.parametrize("causal", [False, True])
def test_relevance_is_the_definition(causal: bool) -> None:
    torch.manual_seed(0)
    model, inputs = Stack(causal=causal), sequence(11)
    with regard.watch(model, keep=True) as seen:
        output = model(inputs)
    found = relevance(seen, target(output), query=-2)
    layers = opened(model)
    target(model(inputs)).sum().backward()
    expected = propagated(matrices(layers, (11, 11)))[:, [-2]]
    torch.testing.assert_close(found.weights, expected, atol=1e-6, rtol=1e-3)
    assert float(expected.detach().max()) > 1.0
    assert int((expected == 0).sum()) == (2 if causal else 0)  # the last position of each row, which it cannot see


def test_relevance_of_an_encoder_decoder_is_the_definition() -> None:
    torch.manual_seed(0)
    model, inputs = Pair(), (sequence(6), sequence(9, seed=1))
    with regard.watch(model, keep=True) as seen:
        output = model(*inputs)
    source, own = cross_relevance(seen, target(output), query=-2)
    layers = opened(model)
    target(model(*inputs)).sum().backward()
    to_source, decoder = relevance_of_pair(
        matrices(layers[:2], (6, 6)), matrices(layers[2::2], (9, 9)), matrices(layers[3::2], (9, 6))
    )
    torch.testing.assert_close(source.weights, to_source[:, [-2]], atol=1e-6, rtol=1e-3)
    torch.testing.assert_close(own.weights, decoder[:, [-2]], atol=1e-6, rtol=1e-3)
    assert float(source.weights.min()) > 0


class Pooled(nn.Module):
    """An encoder whose positions a learned query pools; with `open` the weights of the pooling stay in the graph."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.encoder, self.pooling, self.open = Stack(layers), AdditivePooling(HEADS * WIDTH, heads=2), False
        self.weights: Tensor | None = None

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.encoder(hidden)
        if not self.open:
            return self.pooling(hidden)
        score, value = self.pooling.score, hidden.unflatten(-1, (2, -1)).transpose(1, 2)
        query = self.pooling.query.expand(len(hidden), -1, -1, -1) @ score.query_weight
        scores = torch.tanh(query + value @ score.key_weight) @ score.weight[:, :, None]
        self.weights = scores.mT.softmax(-1)
        self.weights.retain_grad()
        return (self.weights @ value).transpose(1, 2).flatten(1)


@pytest.mark.parametrize("layers", [0, 2])
def test_relevance_through_a_pooling_is_the_definition(layers: int) -> None:
    torch.manual_seed(0)
    model, inputs = Pooled(layers), sequence(11).requires_grad_()
    with regard.watch(model, keep=True) as seen:
        output = model(inputs)
    found = pooled_relevance(seen, output[:, :5].square().sum(-1), pooling="pooling")
    opened(model)
    model.open = True
    model(inputs)[:, :5].square().sum().backward()
    assert model.weights is not None
    assert model.weights.grad is not None
    expected = positive(model.weights, model.weights.grad)
    stack = [layer for layer in model.modules() if isinstance(layer, Attention)]
    if layers:
        expected = expected @ propagated(matrices(stack, (11, 11)))
    torch.testing.assert_close(found.weights, expected, atol=1e-6, rtol=1e-3)
    assert found.weights.shape == (2, 1, 11)
    assert found.exact


def test_a_pooling_has_one_query() -> None:
    model, row = AdditivePooling(6), torch.randn(1, 5, 6, requires_grad=True)
    with regard.watch(model, keep=True) as seen:
        output = model(row, regard.Documents([1, 1], [2, 3]))
    with pytest.raises(ValueError, match="has 2 queries a batch row, and a pooling has one; run rows, not a pack"):
        pooled_relevance(seen, output.sum(), pooling="")


def test_nothing_of_the_model_is_changed() -> None:
    """No gradient is left behind, and the target can be explained again."""
    model = Stack()
    with regard.watch(model, keep=True) as seen:
        output = model(sequence(5))
    first = relevance(seen, output[:, 0, 0], query=0)
    second = relevance(seen, output[:, 0, 0], query=0)
    torch.testing.assert_close(first.weights, second.weights, rtol=0, atol=0)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_importance_of_a_head_is_the_slope_of_its_gate() -> None:
    torch.manual_seed(0)
    model, inputs = Stack(2), sequence(7)
    with regard.watch(model, keep=True) as seen:
        found = head_importance(seen, target(model(inputs)))
    layers = opened(model)
    target(model(inputs)).sum().backward()
    for name, layer in zip(("layers.0", "layers.1"), layers, strict=True):
        assert layer.weights is not None
        assert layer.weights.grad is not None
        gates = (layer.weights * layer.weights.grad).sum((2, 3))  # d target / d gate of weights that are scaled by it
        torch.testing.assert_close(found[name], gates.abs().mean(0), atol=1e-6, rtol=1e-4)


def test_errors_say_what_to_do() -> None:
    model = Stack()
    with regard.watch(model, regard.TopK(2)) as seen:
        output = model(sequence(5))
    with pytest.raises(ValueError, match="the calls were not kept; watch with keep=True"):
        relevance(seen, target(output))
    with torch.no_grad(), regard.watch(model, keep=True) as seen:
        output = model(sequence(5))
    with pytest.raises(ValueError, match=r"layers\.0 has no gradient: run the model with gradients enabled"):
        relevance(seen, target(output))
    with regard.watch(model, keep=True) as seen:
        model(sequence(5))
    with pytest.raises(ValueError, match="the target does not depend on what was watched"):
        relevance(seen, target(Stack()(sequence(5))))
    with regard.watch(model, keep=True) as seen:
        model(sequence(5))
        output = model(sequence(5))
    with pytest.raises(ValueError, match=r"layers\.0 was called 2 times; run the model once on the whole sequence"):
        relevance(seen, target(output))
    pair = Pair()
    with regard.watch(pair, keep=True) as seen:
        output = pair(sequence(5), sequence(7))
    with pytest.raises(ValueError, match=r"7 keys, but the other layers 5 of both: .*call cross_relevance"):
        relevance(seen, target(output))
