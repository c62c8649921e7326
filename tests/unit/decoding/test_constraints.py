import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from regard.decoding import Greedy
from regard.decoding.constraints import constrain, forbid_repeats, max_lengths, require_possible
from regard.models.tokens import END, PAD, START, UNKNOWN


def test_special_tokens_are_forbidden_and_nothing_else_changes() -> None:
    logits = torch.randn(3, 11)
    before = logits.clone()
    constrain(logits, torch.zeros(3, 2, dtype=torch.int64), Greedy())
    assert (logits[:, [PAD, UNKNOWN, START]] == -torch.inf).all()
    assert torch.equal(logits[:, END:], before[:, END:])


@pytest.mark.parametrize(("length", "forbidden"), [(0, True), (4, True), (5, False)])
def test_end_is_forbidden_before_the_minimum_length(length: int, forbidden: bool) -> None:
    logits = torch.randn(3, 11)
    constrain(logits, torch.full((3, length), 7), Greedy(min_length=5))
    assert (logits[:, END] == -torch.inf).all() == forbidden


@hypothesis.given(
    history=st.integers(0, 13).flatmap(
        lambda length: st.lists(st.lists(st.integers(4, 6), min_size=length, max_size=length), min_size=1, max_size=3)
    ),
    ngram=st.integers(1, 5),
)
def test_what_would_repeat_an_ngram_is_forbidden(history: list[list[int]], ngram: int) -> None:
    logits = torch.zeros(len(history), 7)
    forbid_repeats(logits, torch.tensor(history, dtype=torch.int64), ngram)
    for row, tokens in zip(logits, history, strict=True):
        ngrams = {tuple(tokens[i : i + ngram]) for i in range(len(tokens) - ngram + 1)}
        suffix = tuple(tokens[len(tokens) - ngram + 1 :])
        expected = [-torch.inf if (*suffix, token) in ngrams else 0.0 for token in range(7)]
        assert row.tolist() == expected


def test_greatest_length_follows_the_source() -> None:
    lengths = torch.tensor([1, 3, 7, 100])
    assert max_lengths(lengths, Greedy(max_length=50)).tolist() == [50, 50, 50, 50]
    assert max_lengths(lengths, Greedy(max_length=50, max_ratio=1.5, max_extra=2)).tolist() == [3, 6, 12, 50]
    assert max_lengths(lengths, Greedy(max_ratio=1.0, max_extra=0, min_length=5)).tolist() == [6, 6, 7, 100]


def test_no_possible_token_is_an_error_that_tells_why() -> None:
    sentence = torch.tensor([2, 5, 11])
    require_possible(torch.tensor([-1.0, 0.0, -90.0]), sentence, 3, Greedy())
    diverged = r"logits are NaN or infinite \(sentence 5 of the batch, after 3 tokens\)"
    with pytest.raises(ValueError, match=diverged):
        require_possible(torch.tensor([-1.0, torch.nan, -2.0]), sentence, 3, Greedy())
    options = Greedy(min_length=7, no_repeat_ngram=1)
    forbidden = r"no token may follow \(sentence 11 .*min_length=7 forbids END and no_repeat_ngram=1 forbids every"
    with pytest.raises(ValueError, match=forbidden):
        require_possible(torch.tensor([-1.0, -1.0, -torch.inf]), sentence, 3, options)
