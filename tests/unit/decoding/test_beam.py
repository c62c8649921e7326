import math
from collections.abc import Callable
from itertools import product

import hypothesis
import hypothesis.strategies as st
import pytest
import torch
from torch import Tensor

from regard.decoding import Beam, Greedy, search
from regard.models.tokens import END, START

ONE = (torch.tensor([[7]]), torch.tensor([1]))
SPECIAL = (0, 1, 2)


def next_log_probabilities(model: torch.nn.Module, source: Tensor, length: Tensor, tokens: list[int]) -> list[float]:
    """Of the token after `tokens`, by teacher forcing; the model is in evaluation mode."""
    with torch.no_grad():
        hidden = model.forward(source[None], length[None], torch.tensor([[START, *tokens]]))
    return (hidden[0, -1] @ model.output_weight.T).log_softmax(-1).tolist()


def exhaustive(model: torch.nn.Module, source: Tensor, length: Tensor, options: Beam, words: range) -> list[tuple]:
    """(score, tokens) of every finished output, best first."""
    found = []
    for count in range(options.max_length):
        for tokens in product(words, repeat=count):
            history = [*tokens, END]
            total = sum(
                next_log_probabilities(model, source, length, history[:i])[token] for i, token in enumerate(history)
            )
            found.append((total / len(history) ** options.length_penalty, tokens))
    return sorted(found, key=lambda pair: -pair[0])


def plain_beam(model: torch.nn.Module, source: Tensor, length: Tensor, options: Beam) -> list[tuple]:
    """The same search for one sentence, in lists: (score, tokens, finished), best first."""
    beams: list[tuple[float, list[int]]] = [(0.0, [])]
    finished: list[tuple[float, list[int]]] = []
    for size in range(1, options.max_length + 1):
        candidates = []
        for total, tokens in beams:
            for token, value in enumerate(next_log_probabilities(model, source, length, tokens)):
                n = options.no_repeat_ngram
                ngrams = [[*tokens, token][i : i + n] for i in range(size - n + 1)]
                repeats = n and any(ngrams.count(ngram) > 1 for ngram in ngrams)
                early = token == END and size <= options.min_length
                if token not in SPECIAL and not early and not (repeats and token != END):
                    candidates.append((total + value, [*tokens, token]))
        candidates.sort(key=lambda pair: -pair[0])
        finished += [
            (total / size**options.length_penalty, tokens[:-1])
            for total, tokens in candidates[: options.width]
            if tokens[-1] == END
        ]
        finished.sort(key=lambda pair: -pair[0])
        beams = [pair for pair in candidates if pair[1][-1] != END][: options.width]
        top = max((total for total, _ in beams), default=-math.inf)
        here, bound = (top / length**options.length_penalty for length in (size, options.max_length))
        worst = finished[options.n_best - 1][0] if len(finished) >= options.n_best else -math.inf
        if worst >= bound or (len(finished) >= options.width and worst >= here):
            break
    cut = [(total / size**options.length_penalty, tokens, False) for total, tokens in beams]
    return [*((score, tokens, True) for score, tokens in finished), *cut][: options.n_best]


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0, 2.0])
@pytest.mark.parametrize("n_best", [1, 7])
def test_wide_enough_it_is_exhaustive_search(toy: Callable, sources: Callable, alpha: float, n_best: int) -> None:
    # Three words, at most three of them and END: 40 outputs, and at most 3 ** 4 + 3 ** 3 continuations.
    model = toy(vocabulary=7, seed=5).eval()
    source, lengths = sources(2, 3, vocabulary=7)
    options = Beam(width=108, n_best=n_best, max_length=4, length_penalty=alpha)
    found = search(model, source, lengths, options)
    for row, hypotheses in enumerate(found):
        expected = exhaustive(model, source[row], lengths[row], options, range(4, 7))[:n_best]
        assert [h.tokens for h in hypotheses] == [tokens for _, tokens in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, _ in expected], abs=1e-5)
        assert all(h.finished for h in hypotheses)


@hypothesis.settings(max_examples=13)
@hypothesis.given(
    seed=st.integers(0, 1000),
    width=st.integers(1, 5),
    alpha=st.sampled_from([0.0, 0.6, 1.0]),
    max_length=st.integers(3, 7),
    min_length=st.integers(0, 2),
    ngram=st.integers(0, 3),
    data=st.data(),
)
def test_is_the_search_that_is_written_with_lists(
    toy: Callable, sources: Callable, seed: int, width: int, alpha: float, max_length: int, min_length: int,
    ngram: int, data: st.DataObject,
) -> None:  # fmt: skip
    model = toy(seed=seed).eval()
    source, lengths = sources(5, 2, 3, seed=seed)
    options = Beam(
        width=width,
        n_best=data.draw(st.integers(1, width)),
        length_penalty=alpha,
        max_length=max_length,
        min_length=min_length,
        no_repeat_ngram=ngram,
    )
    for row, hypotheses in enumerate(search(model, source, lengths, options)):
        expected = plain_beam(model, source[row], lengths[row], options)
        assert [(list(h.tokens), h.finished) for h in hypotheses] == [(tokens, done) for _, tokens, done in expected]
        assert [h.score for h in hypotheses] == pytest.approx([score for score, *_ in expected], abs=1e-5)


@pytest.mark.parametrize("limits", [{}, {"no_repeat_ngram": 2}, {"min_length": 5}, {"max_ratio": 0.5, "max_extra": 1}])
@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_of_width_one_it_is_greedy(toy: Callable, sources: Callable, limits: dict, alpha: float) -> None:
    batch = sources(*range(1, 14))
    beam = search(toy(), *batch, Beam(width=1, length_penalty=alpha, max_length=13, **limits))
    greedy = search(toy(), *batch, Greedy(max_length=13, **limits))
    for [one], [other] in zip(beam, greedy, strict=True):
        assert (one.tokens, one.finished, one.rows) == (other.tokens, other.finished, other.rows)
        assert one.log_probability == other.log_probability


def test_length_penalty_by_hand(table: Callable) -> None:
    # "4" has probability 0.6 * 0.5 = 0.3, with two tokens; "5 6" has 0.4 * 0.8 * 0.75 = 0.24, with three.
    model = table({START: {4: 0.6, 5: 0.4}, 4: {END: 0.5, 2: 0.5}, 5: {6: 0.8, 2: 0.2}, 6: {END: 0.75, 2: 0.25}})
    for alpha, tokens, score in [
        (0.0, (4,), math.log(0.3)),
        (1.0, (5, 6), math.log(0.24) / 3),
        (0.5, (5, 6), math.log(0.24) / math.sqrt(3)),  # -0.824, before -0.851
        (0.4, (4,), math.log(0.3) / 2**0.4),  # -0.912, before -0.920
    ]:
        [[best]] = search(model, *ONE, Beam(width=2, length_penalty=alpha))
        assert best.tokens == tokens
        assert best.score == pytest.approx(score)


def test_n_best_are_distinct_and_sorted(toy: Callable, sources: Callable) -> None:
    for hypotheses in search(toy(), *sources(*range(1, 18)), Beam(width=5, n_best=5, max_length=7)):
        assert len({h.tokens + (END,) * h.finished for h in hypotheses}) == 5
        ranks = [(h.finished, h.score) for h in hypotheses]
        assert ranks == sorted(ranks, reverse=True)


def test_leaves_when_no_beam_can_overtake(table: Callable) -> None:
    # END at once has log 0.9; what goes on has log 0.1 at best, whatever follows.
    model = table({START: {END: 0.9, 4: 0.1}, 4: {4: 1.0}})
    [[best]] = search(model, *ONE, Beam(width=3, length_penalty=0.0))
    assert best.tokens == ()
    assert model.rows == [1]


def test_goes_on_while_a_beam_can_overtake(table: Callable) -> None:
    # By the mean over 7 tokens even log 0.4 + 6 log 0.9 would be better than log 0.6; but END never comes.
    model = table({START: {END: 0.6, 4: 0.4}, 4: {4: 0.9, 2: 0.1}})
    [[best]] = search(model, *ONE, Beam(width=3, length_penalty=1.0, max_length=7))
    assert best.tokens == ()
    assert len(model.rows) == 7


def test_leaves_when_as_many_as_the_width_have_finished(table: Callable) -> None:
    model = table({START: {END: 0.5, 4: 0.5}, 4: {END: 0.5, 4: 0.5}})
    [found] = search(model, *ONE, Beam(width=3, n_best=3, length_penalty=1.0))
    assert [h.tokens for h in found] == [(), (4,), (4, 4)]
    assert len(model.rows) == 3


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_second_choices_that_end_do_not_end_the_search(table: Callable, alpha: float) -> None:
    """A sure model's second choice is often to end; two such choices are no reason to drop its first."""
    sure = {START: {4: 0.98, END: 0.02}, 4: {5: 0.98, END: 0.02}, 5: {6: 0.98, END: 0.02}, 6: {END: 1.0}}
    [[best]] = search(table(sure), *ONE, Beam(width=2, length_penalty=alpha))
    assert best.tokens == (4, 5, 6)
    assert best.log_probability == pytest.approx(3 * math.log(0.98))


def test_done_sentences_leave_the_batch_and_the_encoder_sees_each_once(toy: Callable, sources: Callable) -> None:
    batch = sources(*range(1, 8))
    model = toy()
    search(model, *batch, Beam(width=3, max_length=13))
    alone = []
    for row in range(7):
        single = toy()
        search(single, batch[0][row : row + 1], batch[1][row : row + 1], Beam(width=3, max_length=13))
        alone.append(single.rows)
    steps = max(map(len, alone))
    assert len({len(rows) for rows in alone}) > 2, "this test wants sentences that are done at different steps"
    assert model.encoded == [7]
    assert model.rows == [sum(rows[step] for rows in alone if len(rows) > step) for step in range(steps)]
    assert model.rows[0] == 7
    assert model.rows[1] == 21


def test_unfinished_hypotheses_fill_up_behind_finished_ones(table: Callable) -> None:
    model = table({START: {4: 0.9, END: 0.1}, 4: {4: 1.0}})
    [found] = search(model, *ONE, Beam(width=2, n_best=2, length_penalty=1.0, max_length=5))
    assert [(h.tokens, h.finished) for h in found] == [((), True), ((4,) * 5, False)]
    assert found[0].score < found[1].score


def test_fewer_are_returned_where_there_are_fewer(table: Callable) -> None:
    model = table({START: {4: 1.0}, 4: {END: 1.0}})
    [found] = search(model, *ONE, Beam(width=5, n_best=5))
    assert [h.tokens for h in found] == [(4,)]
