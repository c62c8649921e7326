"""Error rates by hand."""

import pytest

from regard.tasks.speech.metrics import all_scores, character_errors, interval, table, word_errors

SAID = ["ONE TWO THREE", "FOUR", "FIVE SIX"]
HEARD = ["ONE TO THREE", "FOUR FOUR", "FIVE"]


def test_rates() -> None:
    assert word_errors(HEARD, SAID) == pytest.approx(100 * 3 / 6)
    assert character_errors(["AB"], ["ABC"]) == pytest.approx(100 / 3)
    assert word_errors(SAID, SAID) == 0.0
    assert word_errors(["", ""], ["ONE", "TWO"]) == 100.0
    assert word_errors(["ONE ONE ONE"], ["ONE"]) == 200.0


def test_scores() -> None:
    scores = {score.name: score.value for score in all_scores(HEARD, SAID)}
    assert scores["WER"] == pytest.approx(50.0)
    assert scores["sentences right"] == 0.0
    assert {score.name: score.value for score in all_scores(SAID, SAID)} == {"WER": 0, "CER": 0, "sentences right": 100}


def test_errors_are_told() -> None:
    text = table(HEARD, SAID)
    assert "of 6 words 1 are wrong, 1 are missing and 1 are too many" in text
    assert "   1  TWO -> TO" in text
    assert "   1  SIX -> (nothing)" in text
    assert "   1  (nothing) -> FOUR" in text
    assert "most frequent" not in table(SAID, SAID)


def test_an_interval_holds_the_rate() -> None:
    said = ["A B C D"] * 50
    heard = ["A B C D"] * 40 + ["A B C X"] * 10
    low, high = interval(heard, said)
    assert word_errors(heard, said) == pytest.approx(5.0)
    assert low < 5.0 < high
    assert interval(said, said) == (0.0, 0.0)
