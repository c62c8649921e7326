"""The pointer-generator: a distribution over both ways, the same step by step, padded or packed, and it can copy."""

import pytest
import torch
from tests.unit.models.test_classifier import LENGTHS, TOKENS

from regard.models.pointer import PointerTransformer
from regard.models.tokens import END, PAD, START
from regard.models.transformer import Layers

TARGET = torch.tensor([[START, 5, 9, 3 + 4], [START, 8, PAD, PAD], [START, 6, 4, PAD]])
OUT = torch.tensor([[5, 9, 7, END], [8, END, PAD, PAD], [6, 4, END, PAD]])
TARGET_LENGTHS = torch.tensor([4, 2, 3])


@pytest.fixture
def model() -> PointerTransformer:
    torch.manual_seed(1)
    shape = Layers(dim=12, heads=2, feed_forward=16, layers=2, dropout=0.0)
    return PointerTransformer(11, encoder=shape, decoder=shape).double().eval()


def test_a_step_is_a_distribution(model: PointerTransformer) -> None:
    state = model.encode(TOKENS, LENGTHS)
    logs = model.step(torch.full((3,), START), state)
    torch.testing.assert_close(logs.exp().sum(-1), torch.ones(3, dtype=logs.dtype), rtol=1e-6, atol=1e-6)


def test_step_by_step_is_all_at_once(model: PointerTransformer) -> None:
    found = model.write(TOKENS, LENGTHS, TARGET, target_out=OUT)
    state = model.encode(TOKENS, LENGTHS)
    for step in range(TARGET.shape[1]):
        logs = model.step(TARGET[:, step], state)
        chosen = logs.gather(1, OUT[:, step : step + 1]).squeeze(1)
        real = step < TARGET_LENGTHS
        torch.testing.assert_close(chosen[real].double(), found.log_probability[real, step], rtol=1e-5, atol=1e-5)


def test_packed_is_padded(model: PointerTransformer) -> None:
    def pack(rows, lengths):
        return torch.cat([row[:length] for row, length in zip(rows, lengths, strict=True)]).unsqueeze(0)

    padded = model.write(TOKENS, LENGTHS, TARGET, target_out=OUT)
    packed = model.write(
        pack(TOKENS, LENGTHS), LENGTHS, pack(TARGET, TARGET_LENGTHS), TARGET_LENGTHS,
        target_out=pack(OUT, TARGET_LENGTHS),
    )  # fmt: skip
    for name in ("log_probability", "mean", "coverage"):
        torch.testing.assert_close(getattr(packed, name), pack(getattr(padded, name), TARGET_LENGTHS))


def test_the_mixture_by_hand(model: PointerTransformer) -> None:
    """Gate shut, the probability of a token is what its places in the source have of the attention."""
    with torch.no_grad():
        model.copying.gate.weight.zero_()
        model.copying.gate.bias.fill_(-50.0)
        memory, hidden = model.encoder(TOKENS, LENGTHS), model(TOKENS, LENGTHS, TARGET)
        logits = model.copying.query(hidden) @ model.copying.key(memory).mT / 12**0.5
        hidden_keys = torch.arange(5) >= LENGTHS[:, None, None]
        weights = logits.masked_fill(hidden_keys, -torch.inf).softmax(-1)
        found = model.write(TOKENS, LENGTHS, TARGET, target_out=OUT)
    twice = weights[2, 0, :2].sum()  # the 6 that stands at two places
    torch.testing.assert_close(found.log_probability[2, 0].exp(), twice)
    torch.testing.assert_close(found.log_probability[0, 1].exp(), weights[0, 1, 1])
    torch.testing.assert_close(found.coverage[:, 0], torch.zeros(3, dtype=weights.dtype))
    torch.testing.assert_close(found.coverage[0, 1], torch.minimum(weights[0, 1], weights[0, 0]).sum())
    expected = torch.minimum(weights[0, 2], weights[0, 0] + weights[0, 1]).sum()
    torch.testing.assert_close(found.coverage[0, 2], expected)


def test_gradients_are_finite_where_nothing_can_be_copied(model: PointerTransformer) -> None:
    nowhere = torch.full_like(OUT, 10)  # a token that no source has
    found = model.write(TOKENS, LENGTHS, TARGET, target_out=nowhere)
    (found.log_probability.sum() + found.coverage.sum()).backward()
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())


def test_rows_are_selected_with_their_sources(model: PointerTransformer) -> None:
    state = model.encode(TOKENS, LENGTHS)
    model.step(torch.full((3,), START), state)
    order = torch.tensor([2, 0, 0])
    state.select(order)
    again = model.encode(TOKENS[order], LENGTHS[order])
    model.step(torch.full((3,), START), again)
    tokens = torch.tensor([6, 5, 9])
    torch.testing.assert_close(model.step(tokens, state), model.step(tokens, again))


@pytest.mark.parametrize("packed", [False, True])
def test_a_window_with_a_global_token(packed: bool) -> None:
    """What is beyond the window of every layer reaches a token by way of the first one alone."""
    from regard.models.classifier import transformer

    torch.manual_seed(1)
    tokens = torch.tensor([[5, 9, 4, 7, 8, 6, 5, 4, 9, END]])
    other = tokens.clone()
    other[0, 8] = 6
    reaches = []
    for global_tokens in (0, 1):
        shape = Layers(dim=12, heads=2, feed_forward=16, layers=2, dropout=0.0, window=1, global_tokens=global_tokens)
        encoder = transformer(11, shape).double().eval()
        one, two = (encoder(given, torch.tensor([10]), packed=packed) for given in (tokens, other))
        reaches.append((one != two).any(-1)[0].tolist())
    assert reaches[0] == [False] * 6 + [True] * 4
    assert reaches[1] == [True] * 10
