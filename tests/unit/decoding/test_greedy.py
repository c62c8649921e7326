from collections.abc import Callable

import pytest
import torch

from regard.decoding import Greedy, search
from regard.models.tokens import END, START


def test_takes_the_likeliest_token_at_every_step(table: Callable) -> None:
    model = table({START: {4: 0.6, 5: 0.4}, 4: {5: 0.5, END: 0.3, 6: 0.2}, 5: {END: 0.7, 4: 0.3}})
    [[found]] = search(model, torch.tensor([[7]]), torch.tensor([1]), Greedy())
    assert found.tokens == (4, 5)
    assert found.finished
    assert found.log_probability == pytest.approx(torch.tensor(0.6 * 0.5 * 0.7).log().item())
    assert found.score == found.log_probability


def test_ties_go_to_the_lower_token(table: Callable) -> None:
    model = table({START: {5: 0.4, 4: 0.4, 6: 0.2}, 4: {6: 0.5, END: 0.5}})
    [[found]] = search(model, torch.tensor([[7]]), torch.tensor([1]), Greedy())
    assert found.tokens == (4,)


def test_probability_of_what_is_forbidden_is_not_shared_out(table: Callable) -> None:
    model = table({START: {1: 0.75, 4: 0.25}, 4: {END: 1.0}})
    [[found]] = search(model, torch.tensor([[7]]), torch.tensor([1]), Greedy())
    assert found.log_probability == pytest.approx(torch.tensor(0.25).log().item())


def test_without_end_it_is_cut_and_unfinished(table: Callable) -> None:
    model = table({START: {4: 1.0}, 4: {4: 0.9, END: 0.1}})
    [[found]] = search(model, torch.tensor([[7]]), torch.tensor([1]), Greedy(max_length=5))
    assert found.tokens == (4,) * 5
    assert not found.finished
    assert len(found.rows) == 5


def test_finished_sentences_leave_the_batch(toy: Callable, sources: Callable) -> None:
    model = toy()
    found = search(model, *sources(*range(1, 18)), Greedy(max_length=13))
    lengths = [len(hypothesis.rows) for [hypothesis] in found]
    assert len(set(lengths)) > 3, "this test wants outputs of several lengths"
    assert model.rows == [sum(length > step for length in lengths) for step in range(max(lengths))]
