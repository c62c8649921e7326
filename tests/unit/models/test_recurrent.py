"""The recurrent models' own: which state attends, with which score, to what."""

import pytest
import torch
from torch import nn

import regard
from regard.models.recurrent import RecurrentSeq2Seq

ATTENTIONS = ["none", "bahdanau", "general", "dot"]


def model_of(attention: str, **options) -> RecurrentSeq2Seq:
    shape = {"dim": 11, "hidden": 14, "dropout": 0.0, **options}
    return RecurrentSeq2Seq(17, 13, attention=attention, **shape).double()


def batch_of() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.randint(4, 17, (3, 7)), torch.tensor([7, 2, 5]), torch.randint(4, 13, (3, 5))


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_targets_table_is_the_output(attention):
    model = model_of(attention)
    assert model.output_weight is model.table.weight
    assert [tuple(p.shape) for n, p in model.named_parameters() if "table" in n] == [(17, 11), (13, 11)]


@pytest.mark.parametrize(
    ("attention", "score"),
    [("bahdanau", regard.Additive), ("general", regard.General), ("dot", regard.Dot)],
)
def test_the_score_is_the_papers_and_is_trained(attention, score):
    model = model_of(attention)
    assert isinstance(model.score, score)
    model(*batch_of()).square().sum().backward()
    learned = [parameter for name, parameter in model.named_parameters() if name.startswith("score.")]
    assert len(learned) == {"bahdanau": 3, "general": 1, "dot": 0}[attention]
    assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())


def test_luong_attends_with_the_new_state():
    """Luong et al. 2015, equations 5 and 7: h~ = tanh(W [h; c]), c the mean of the memory by softmax(h . memory)."""
    model, (source, lengths, target) = model_of("dot").eval(), batch_of()
    memory, hidden = model.encoder(source, lengths)
    outputs = []
    for tokens in target.T:
        hidden = model.cell(model.table(tokens) * 11**0.5, hidden)
        scores = (memory @ hidden[:, :, None])[:, :, 0]
        scores[torch.arange(7) >= lengths[:, None]] = -torch.inf
        context = (scores.softmax(-1)[:, :, None] * memory).sum(1)
        outputs.append(torch.tanh(model.output(torch.cat((hidden, context), -1))))
    torch.testing.assert_close(model(source, lengths, target), torch.stack(outputs, 1))


def test_bahdanau_attends_with_the_state_before_and_feeds_the_cell():
    """Bahdanau et al. 2015, appendix A: e = v . tanh(W s + U h), with s the state before this step."""
    model, (source, lengths, target) = model_of("bahdanau").eval(), batch_of()
    memory, hidden = model.encoder(source, lengths)
    w, u, v = model.score.query_weight[0], model.score.key_weight[0], model.score.weight[0]
    outputs = []
    for tokens in target.T:
        scores = torch.tanh((hidden @ w)[:, None] + memory @ u) @ v
        scores[torch.arange(7) >= lengths[:, None]] = -torch.inf
        context = (scores.softmax(-1)[:, :, None] * memory).sum(1)
        hidden = model.cell(torch.cat((model.table(tokens) * 11**0.5, context), -1), hidden)
        outputs.append(torch.tanh(model.output(torch.cat((hidden, context), -1))))
    torch.testing.assert_close(model(source, lengths, target), torch.stack(outputs, 1))


@pytest.mark.parametrize("attention", ["bahdanau", "general"])
def test_the_source_is_projected_once(attention, monkeypatch):
    model, (source, lengths, target) = model_of(attention).eval(), batch_of()
    calls, prepare = [], type(model.score).prepare
    monkeypatch.setattr(type(model.score), "prepare", lambda self, key: calls.append(key.shape) or prepare(self, key))
    state = model.encode(source, lengths)
    for tokens in target.T:
        model.step(tokens, state)
        state.select(torch.tensor([2, 1, 0]))
    assert len(calls) == 1


def test_without_attention_the_last_state_is_all_that_the_decoder_knows():
    model, (source, lengths, _) = model_of("none").eval(), batch_of()
    state = model.encode(source, lengths)
    state.memory = torch.full_like(state.memory, torch.nan)
    assert model.step(torch.tensor([4, 5, 6]), state).isfinite().all()


def test_dropout_is_for_training():
    model, batch = model_of("bahdanau", dropout=0.5, layers=2), batch_of()
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    assert torch.equal(model(*batch), model(*batch))


def test_hidden_is_split_over_two_directions():
    with pytest.raises(ValueError, match="hidden is split over two directions, so it must be even, got 13"):
        model_of("none", hidden=13)
    assert isinstance(model_of("none", layers=3).encoder.recurrence, nn.GRU)
