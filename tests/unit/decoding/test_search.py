from collections.abc import Callable

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from regard.decoding import Beam, Greedy, Sampling, attention_of, search
from regard.models.tokens import END, PAD, START, UNKNOWN

Options = Greedy | Beam | Sampling
DETERMINISTIC = [Greedy(max_length=11), Beam(width=3, n_best=3, max_length=11)]
ALL = [*DETERMINISTIC, Sampling(samples=3, max_length=11)]


@pytest.mark.parametrize("options", DETERMINISTIC)
def test_a_batch_is_each_sentence_alone(toy: Callable, sources: Callable, options: Options) -> None:
    source, lengths = sources(5, 1, 7, 3, 2, extra=4)
    together = search(toy(), source, lengths, options)
    for row, expected in enumerate(together):
        length = int(lengths[row])
        [alone] = search(toy(), source[row : row + 1, :length], lengths[row : row + 1], options)
        assert [(h.tokens, h.finished) for h in alone] == [(h.tokens, h.finished) for h in expected]
        assert [h.score for h in alone] == pytest.approx([h.score for h in expected], abs=1e-5)


@pytest.mark.parametrize("options", ALL)
def test_forced_emission_gives_the_same_probability_and_attention(
    toy: Callable, sources: Callable, options: Options
) -> None:
    """What was recorded in the rows of a hypothesis is what a rerun of its tokens attends to."""
    model = toy()
    source, lengths = sources(5, 1, 7, 3, 2)
    found = search(model, source, lengths, options)
    calls = list(model.weights)
    forced = toy().eval()
    for row, hypotheses in enumerate(found):
        for one in hypotheses:
            emitted = [*one.tokens, END] if one.finished else list(one.tokens)
            assert len(one.rows) == len(emitted)
            forced.weights.clear()
            target = torch.tensor([[START, *emitted[:-1]]])
            hidden = forced.forward(source[row : row + 1], lengths[row : row + 1], target)
            steps = (hidden[0] @ forced.output_weight.T).log_softmax(-1)
            total = steps[torch.arange(len(emitted)), emitted].sum().item()
            assert one.log_probability == pytest.approx(total, abs=1e-4)
            expected = torch.cat(forced.weights, dim=2)[0]
            torch.testing.assert_close(attention_of(one, calls), expected)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    kind=st.sampled_from([Greedy, Beam, Sampling]),
    seed=st.integers(0, 1000),
    min_length=st.integers(0, 5),
    more=st.integers(1, 13),
    ngram=st.integers(2, 4),
)
def test_limits_are_kept(
    toy: Callable, sources: Callable, kind: type, seed: int, min_length: int, more: int, ngram: int
) -> None:
    options = kind(min_length=min_length, max_length=min_length + more, no_repeat_ngram=ngram)
    for [found] in search(toy(seed=seed), *sources(3, 1, 5, seed=seed), options):
        tokens = found.tokens
        assert not {PAD, UNKNOWN, START, END} & set(tokens)
        assert len(tokens) + found.finished <= options.max_length
        assert len(tokens) == options.max_length or found.finished
        assert len(tokens) >= min_length
        ngrams = [tokens[i : i + ngram] for i in range(len(tokens) - ngram + 1)]
        assert len(ngrams) == len(set(ngrams))


@pytest.mark.parametrize("kind", [Greedy, Beam, Sampling])
def test_each_sentence_has_its_own_greatest_length(toy: Callable, sources: Callable, kind: type) -> None:
    options = kind(min_length=1, max_ratio=1.0, max_extra=0)
    lengths = (2, 7, 3)
    for length, [found] in zip(lengths, search(toy(), *sources(*lengths), options), strict=True):
        assert len(found.rows) <= length


def test_the_mode_of_every_part_is_restored(toy: Callable, sources: Callable) -> None:
    model = toy().train()
    batch = sources(3, 5)
    first = search(model, *batch, Greedy(max_length=11))
    assert first == search(model, *batch, Greedy(max_length=11)), "dropout is off"
    assert model.training
    assert model.dropout.training
    model.eval()
    model.dropout.train()
    search(model, *batch, Greedy(max_length=11))
    assert not model.training
    assert model.dropout.training


def test_the_mode_is_restored_after_an_error_too(toy: Callable, sources: Callable) -> None:
    model = toy().train()
    with torch.no_grad():
        model.output[4] = torch.nan
    for options in ALL:
        with pytest.raises(ValueError, match=r"logits are NaN or infinite \(sentence 0 of the batch, after 0 tokens\)"):
            search(model, *sources(3, 5), options)
        assert model.training


def test_no_gradient_is_recorded(toy: Callable, sources: Callable) -> None:
    model = toy()
    search(model, *sources(3, 5), Beam(max_length=11))
    assert not any(weights.requires_grad for weights in model.weights)


@pytest.mark.parametrize("options", ALL)
def test_no_sentences_give_no_hypotheses(toy: Callable, options: Options) -> None:
    assert search(toy(), torch.zeros(0, 5, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), options) == []


@pytest.mark.parametrize("options", [Greedy, Beam, Sampling])
def test_constraints_that_leave_nothing_are_an_error(toy: Callable, sources: Callable, options: type) -> None:
    with pytest.raises(ValueError, match=r"no token may follow \(sentence 0 .*after 7 tokens.* lower min_length"):
        search(toy(), *sources(3, 5), options(min_length=9, no_repeat_ngram=1))


@pytest.mark.parametrize("lengths", [[3, 0], [3, 6]])
def test_lengths_that_do_not_fit_are_refused(toy: Callable, sources: Callable, lengths: list[int]) -> None:
    source, _ = sources(3, 5)
    words = rf"source_lengths go from {min(lengths)} to {max(lengths)}.* width of source, 5; leave empty"
    with pytest.raises(ValueError, match=words):
        search(toy(), source, torch.tensor(lengths), Greedy())


@pytest.mark.parametrize("options", [Greedy(max_length=11), Beam(width=1, max_length=11)])
def test_progress_tells_of_every_step(toy: Callable, sources: Callable, options: Options) -> None:
    """Of a search without alternatives, what is told is the beginning of what comes out, a token longer each time."""
    told: dict[int, list[list[int]]] = {}

    def progress(sentences: list[int], tokens: list[list[int]]) -> None:
        for sentence, so_far in zip(sentences, tokens, strict=True):
            told.setdefault(sentence, []).append(so_far)

    found = search(toy(), *sources(5, 1, 7, 3), options, progress)
    for sentence, [one] in enumerate(found):
        last = len(one.tokens) if one.finished else len(one.tokens) - 1  # then it leaves
        assert told.get(sentence, []) == [list(one.tokens[:length]) for length in range(1, last + 1)]


@pytest.mark.parametrize("options", ALL)
def test_progress_changes_nothing_and_can_end_a_search(toy: Callable, sources: Callable, options: Options) -> None:
    batch, steps = sources(5, 1, 7), []

    def progress(sentences: list[int], tokens: list[list[int]]) -> None:
        steps.append(sorted(set(sentences)))
        assert sentences == steps[-1]  # each once, in order
        assert {len(one) for one in tokens} == {len(steps)} or not tokens

    assert search(toy(), *batch, options, progress) == search(toy(), *batch, options)
    assert steps

    def stop(sentences: list[int], tokens: list[list[int]]) -> None:
        raise InterruptedError("nobody waits for it")

    with pytest.raises(InterruptedError, match="nobody waits"):
        search(toy(), *batch, options, stop)
