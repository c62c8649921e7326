"""CTC against the sum and the best over all ways to label a few positions."""

import math
import re
from collections import defaultdict
from itertools import groupby, product

import pytest
import torch

from regard.decoding.ctc import PrefixState, ctc_align, ctc_greedy
from regard.models.tokens import BLANK

LENGTH, VOCABULARY, END = 5, 4, 3
LABELS = torch.randn(
    1, LENGTH, VOCABULARY, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
).log_softmax(-1)


def said(path: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(label for label, _ in groupby(path) if label != BLANK)


def ways() -> tuple[dict[tuple[int, ...], float], dict[tuple[int, ...], float]]:
    """How likely each text is, and its best way."""
    total: dict[tuple[int, ...], float] = defaultdict(float)
    best: dict[tuple[int, ...], float] = defaultdict(lambda: -math.inf)
    for path in product(range(VOCABULARY), repeat=LENGTH):
        score = sum(float(LABELS[0, position, label]) for position, label in enumerate(path))
        total[said(path)] += math.exp(score)
        best[said(path)] = max(best[said(path)], score)
    return total, best


TOTAL, BEST = ways()


def begins(text: tuple[int, ...]) -> float:
    return sum(share for other, share in TOTAL.items() if other[: len(text)] == text)


@pytest.mark.parametrize("text", [(), (1,), (1, 1), (2, 1), (1, 2, 1), (1, 1, 2), (2, 2, 2)], ids=str)
def test_how_a_text_goes_on(text: tuple[int, ...]) -> None:
    state = PrefixState.of(LABELS, torch.tensor([LENGTH]))
    for token in text:
        state.append(torch.tensor([token]))
    assert math.exp(float(state.begun)) == pytest.approx(begins(text))
    following = state.following(END)[0].exp()
    for token in (1, 2):
        assert float(following[token]) == pytest.approx(begins((*text, token)) / begins(text), abs=1e-12)
    assert float(following[END]) == pytest.approx(TOTAL[text] / begins(text), abs=1e-12)
    assert float(following[BLANK]) == 0.0


def test_positions_behind_the_end_say_nothing() -> None:
    more = torch.cat((LABELS, torch.randn(1, 3, VOCABULARY, dtype=torch.float64).log_softmax(-1)), 1)
    states = [PrefixState.of(labels, torch.tensor([LENGTH])) for labels in (LABELS, more)]
    for token in (2, 2, 1):
        torch.testing.assert_close(states[0].following(END), states[1].following(END))
        for state in states:
            state.append(torch.tensor([token]))


def test_rows_are_selected() -> None:
    labels = torch.cat((LABELS, LABELS.flip(1)))
    both = PrefixState.of(labels, torch.tensor([LENGTH, LENGTH]))
    both.append(torch.tensor([1, 2]))
    alone = PrefixState.of(labels[1:], torch.tensor([LENGTH]))
    alone.append(torch.tensor([2]))
    both.select(torch.tensor([1, 1]))
    torch.testing.assert_close(both.following(END), alone.following(END).expand(2, -1))


def test_a_text_that_cannot_be_has_no_successors() -> None:
    state = PrefixState.of(LABELS, torch.tensor([LENGTH]))
    for _ in range(LENGTH):
        state.append(torch.tensor([1]))
    assert (state.following(END) == -math.inf).all()


@pytest.mark.parametrize("text", [(1,), (1, 1), (2, 1, 3), (1, 2), (3, 3, 3)], ids=str)
def test_the_best_way_of_a_text(text: tuple[int, ...]) -> None:
    spans, score = ctc_align(LABELS[0], list(text))
    assert score == pytest.approx(BEST[text])
    path = [BLANK] * LENGTH
    for token, (first, behind) in zip(text, spans, strict=True):
        path[first:behind] = [token] * (behind - first)
    assert said(tuple(path)) == text
    assert sum(float(LABELS[0, position, label]) for position, label in enumerate(path)) == pytest.approx(score)


def test_nothing_said() -> None:
    assert ctc_align(LABELS[0], []) == ([], pytest.approx(float(LABELS[0, :, BLANK].sum())))


def test_a_text_too_long_for_its_sound() -> None:
    with pytest.raises(ValueError, match=re.escape("4 tokens need 6 positions, and the sound has 5")):
        ctc_align(LABELS[0], [1, 1, 1, 2])


def test_greedy_is_the_best_label_of_each_position() -> None:
    labels = torch.full((2, 5, VOCABULARY), -9.0)
    for row, path in enumerate([(1, 1, 0, 1, 2), (0, 3, 3, 2, 2)]):
        labels[row, range(5), path] = 0.0
    assert ctc_greedy(labels, torch.tensor([5, 3])) == [[1, 1, 2], [3]]
