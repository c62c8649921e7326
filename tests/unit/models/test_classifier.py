"""The text classifier: padding and packing change nothing, words can be left unread in training."""

import pytest
import torch

from regard.models.classifier import Classifier, transformer
from regard.models.recurrent import RecurrentEncoder
from regard.models.tokens import END, UNKNOWN
from regard.models.transformer import Layers

TOKENS = torch.tensor([[5, 9, 4, 7, END], [8, END, 0, 0, 0], [6, 6, END, 0, 0]])
LENGTHS = torch.tensor([5, 2, 3])


def build(kind: str, **options) -> Classifier:
    torch.manual_seed(1)
    shape = Layers(dim=12, heads=2, feed_forward=16, layers=2, dropout=0.0)
    encoder = (
        transformer(11, shape)
        if kind == "transformer"
        else RecurrentEncoder(11, 10, 12, layers=1, dropout=0.0, starts=False)
    )
    return Classifier(encoder, 12, 3, heads=2, **options).double().eval()


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_a_text_is_classified_as_it_is_alone(kind: str) -> None:
    model = build(kind)
    together = model(TOKENS, LENGTHS)
    assert together.shape == (3, 3)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = model(TOKENS[row : row + 1, :length], LENGTHS[row : row + 1])
        torch.testing.assert_close(alone[0], together[row])


def test_packed_is_padded() -> None:
    model = build("transformer")
    packed = torch.cat([row[:length] for row, length in zip(TOKENS, LENGTHS, strict=True)]).unsqueeze(0)
    torch.testing.assert_close(model(packed, LENGTHS, packed=True), model(TOKENS, LENGTHS))
    with pytest.raises(ValueError, match="a recurrent encoder reads rows"):
        build("recurrent")(packed, LENGTHS, packed=True)


def test_the_order_of_words_matters() -> None:
    turned = TOKENS[:1, [3, 2, 1, 0, 4]]
    for kind in ("transformer", "recurrent"):
        model = build(kind)
        assert not torch.allclose(model(turned, LENGTHS[:1]), model(TOKENS[:1], LENGTHS[:1]))


def test_every_weight_is_trained() -> None:
    for kind in ("transformer", "recurrent"):
        model = build(kind)
        model(TOKENS, LENGTHS).square().sum().backward()
        assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_unread_words_are_unknown_and_only_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    model, read = build("transformer", word_dropout=0.99), []
    monkeypatch.setattr(model.encoder, "forward", lambda tokens, *_, **__: read.append(tokens) or torch.zeros(3, 5, 12))
    model.float()
    model(TOKENS, LENGTHS)
    assert torch.equal(read[0], TOKENS)
    model.train()
    model(TOKENS, LENGTHS)
    changed = read[1] != TOKENS
    assert changed.any()
    assert (read[1][changed] == UNKNOWN).all()
    assert not changed[(TOKENS == END) | (TOKENS == 0)].any()
    with pytest.raises(ValueError, match="word_dropout is a probability"):
        build("transformer", word_dropout=1.0)
