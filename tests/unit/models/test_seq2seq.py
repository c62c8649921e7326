"""Laws that every encoder-decoder keeps: one distribution, however it is computed."""

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.decoding import Beam, Greedy, attention_of, search
from regard.models.seq2seq import Seq2Seq, State
from regard.models.tokens import END, PAD, START
from regard.ops.cross_entropy import linear_cross_entropy


class History:
    """A state that remembers nothing but the tokens, and the rows of the source that they belong to."""

    def __init__(self, source: Tensor, source_lengths: Tensor) -> None:
        self.source, self.source_lengths = source, source_lengths
        self.tokens = source.new_empty(len(source), 0)

    def select(self, rows: Tensor) -> None:
        self.source, self.source_lengths = self.source[rows], self.source_lengths[rows]
        self.tokens = self.tokens[rows]


class Recomputing(nn.Module):
    """A model that at every step computes everything anew."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    @property
    def output_weight(self) -> Tensor:
        return self.model.output_weight

    def encode(self, source: Tensor, source_lengths: Tensor) -> History:
        return History(source, source_lengths)

    def step(self, tokens: Tensor, state: History) -> Tensor:
        state.tokens = torch.cat((state.tokens, tokens[:, None]), 1)
        hidden = self.model(state.source, state.source_lengths, state.tokens)
        return hidden[:, -1] @ self.output_weight.T

    def forward(self, source: Tensor, source_lengths: Tensor, target: Tensor) -> Tensor:
        return self.model(source, source_lengths, target)


def step_by_step(model: nn.Module, state: State, target: Tensor) -> Tensor:
    return torch.stack([model.step(tokens, state) for tokens in target.T], 1)


def test_the_protocols(case):
    assert isinstance(case.model, Seq2Seq)
    assert isinstance(case.model.encode(case.source, case.source_lengths), State)
    assert case.model.output_weight.shape[0] == 13
    assert case.model(case.source, case.source_lengths, case.target).shape[:2] == case.target.shape


def test_teacher_forcing_is_step_by_step(case):
    state = case.model.encode(case.source, case.source_lengths)
    found = step_by_step(case.model, state, case.target)
    torch.testing.assert_close(found, case.logits(case.source, case.source_lengths, case.target))


def test_the_source_and_every_earlier_token_matter_and_no_later_one(case):
    logits = case.logits(case.source, case.source_lengths, case.target)
    for changed in range(1, case.target.shape[1]):
        target = case.target.clone()
        target[:, changed] = (target[:, changed] - 3) % 9 + 4  # another token, and no special one
        found = case.logits(case.source, case.source_lengths, target)
        torch.testing.assert_close(found[:, :changed], logits[:, :changed])
        assert (found[:, changed:] - logits[:, changed:]).abs().amax((0, 2)).min() > 1e-6
    source = case.source.clone()
    source[:, 0] = (source[:, 0] - 3) % 9 + 4
    found = case.logits(source, case.source_lengths, case.target)
    assert (found - logits).abs().amax((1, 2)).min() > 1e-6


@pytest.mark.parametrize("token", [PAD, 7])
def test_padding_changes_nothing_whatever_stands_in_it(case, token):
    logits = case.logits(case.source, case.source_lengths, case.target)
    beyond = torch.arange(11) >= case.source_lengths[:, None]
    source = nn.functional.pad(case.source, (0, 4)).masked_fill(beyond, token)
    target = nn.functional.pad(case.target, (0, 2), value=token)
    found = case.logits(source, case.source_lengths, target)
    torch.testing.assert_close(found[:, : case.target.shape[1]], logits)


def test_a_sentence_in_a_batch_is_the_sentence_alone(case):
    logits = case.logits(case.source, case.source_lengths, case.target)
    for row, length in enumerate(case.source_lengths.tolist()):
        alone = slice(row, row + 1)
        found = case.logits(case.source[alone, :length], case.source_lengths[alone], case.target[alone])
        torch.testing.assert_close(found[0], logits[row])


@pytest.mark.parametrize(("steps", "rows"), [(0, [1, 1, 2, 0, 2]), (2, [2, 0]), (2, [1, 1, 0])])
def test_rows_of_a_state_are_dropped_reordered_and_repeated(case, steps, rows):
    chosen = torch.tensor(rows)
    state = case.model.encode(case.source, case.source_lengths)
    step_by_step(case.model, state, case.target[:, :steps]) if steps else None
    state.select(chosen)
    found = step_by_step(case.model, state, case.target[chosen, steps:])
    expected = case.logits(case.source, case.source_lengths, case.target)[chosen, steps:]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    "options",
    [Greedy(max_length=7), Beam(width=3, n_best=3, no_repeat_ngram=2, max_length=7)],
    ids=["greedy", "beam"],
)
def test_search_with_a_cache_is_search_that_recomputes_everything(case, options):
    found = search(case.model, case.source, case.source_lengths, options)
    expected = search(Recomputing(case.model), case.source, case.source_lengths, options)
    assert [[one.tokens for one in each] for each in found] == [[one.tokens for one in each] for each in expected]
    assert [[one.rows for one in each] for each in found] == [[one.rows for one in each] for each in expected]
    for these, those in zip(found, expected, strict=True):
        assert [one.score for one in these] == pytest.approx([one.score for one in those], abs=1e-5)


def test_a_score_is_the_models_own_log_probability(case):
    found = search(case.model, case.source, case.source_lengths, Beam(width=3, n_best=2, max_length=7))
    for row, hypotheses in enumerate(found):
        for one in hypotheses:
            emitted = torch.tensor([*one.tokens, END] if one.finished else one.tokens)
            target = torch.cat((torch.tensor([START]), emitted[:-1]))
            logits = case.logits(case.source[row : row + 1], case.source_lengths[row : row + 1], target[None])
            each = logits[0].log_softmax(-1).gather(1, emitted[:, None])
            assert one.log_probability == pytest.approx(float(each.sum()), abs=1e-4)


def test_the_attention_of_every_emitted_token_is_the_teacher_forced_one(case):
    if not case.cross:
        with regard.watch(case.model, regard.Weights()) as seen:
            search(case.model, case.source, case.source_lengths, Greedy(max_length=9))
        assert len(seen) == 0, "this model attends to nothing"
        return
    with regard.watch(case.model, regard.Weights()) as seen:
        found = search(case.model, case.source, case.source_lengths, Beam(width=3, max_length=7))
    steps = {name: [call["weights"] for call in seen.calls(name)] for name in case.cross}
    for row, length in enumerate(case.source_lengths.tolist()):
        for one in found[row]:
            target = torch.tensor([[START, *one.tokens]])[:, : len(one.rows)]
            with regard.watch(case.model, regard.Weights()) as forced:
                case.model(case.source[row : row + 1, :length], case.source_lengths[row : row + 1], target)
            for name in case.cross:
                weights = attention_of(one, steps[name])
                expected = torch.cat([call["weights"] for call in forced.calls(name)], -2)[0]
                torch.testing.assert_close(weights[..., :length], expected, atol=1e-6, rtol=1e-5)
                assert not weights[..., length:].any(), "padding is not attended to"


WORDS = ["ab", "key", "four", "mask", "head", "seen", "score", "sum", "add", "model"]


def reversed_pairs() -> tuple[Tensor, Tensor, Tensor]:
    """Ten words, and the same backwards, as tokens."""
    letters = {letter: number for number, letter in enumerate(sorted(set("".join(WORDS))), start=4)}
    tokens = [[letters[letter] for letter in text] for text in WORDS]
    width = max(map(len, tokens)) + 1

    def padded(rows: list[list[int]]) -> Tensor:
        return torch.tensor([row + [PAD] * (width - len(row)) for row in rows])

    source = padded([[*row, END] for row in tokens])
    return source, (source != PAD).sum(1), padded([[*row[::-1], END] for row in tokens])


@pytest.mark.parametrize("architecture", ["pre", "post", "none", "bahdanau", "general", "dot"])
@pytest.mark.usefixtures("unchecked")
def test_ten_words_are_learned_backwards(architecture):
    from regard.models.recurrent import RecurrentSeq2Seq
    from regard.models.transformer import Layers, Transformer

    source, lengths, target = reversed_pairs()
    vocabulary = int(source.max()) + 1
    if architecture in ("pre", "post"):
        shape = Layers(dim=32, heads=2, feed_forward=64, layers=1, dropout=0.0, norm=architecture)
        model: nn.Module = Transformer(vocabulary, vocabulary, encoder=shape, decoder=shape)
    else:
        model = RecurrentSeq2Seq(vocabulary, vocabulary, dim=32, hidden=48, dropout=0.0, attention=architecture)
    target_in = torch.cat((torch.full((len(target), 1), START), target[:, :-1]), 1)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(200):
        optimizer.zero_grad()
        hidden = model(source, lengths, target_in)
        if ((hidden @ model.output_weight.T).argmax(-1) == target)[target != PAD].all():
            break
        loss = linear_cross_entropy(hidden.flatten(0, 1), model.output_weight, target.flatten(), ignore=PAD)
        loss.backward()
        optimizer.step()
    found = search(model, source, lengths, Greedy(max_length=17))
    expected = [[token for token in row if token not in (PAD, END)] for row in target.tolist()]
    assert [list(one.tokens) for (one,) in found] == expected
