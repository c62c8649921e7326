"""Tokens of what is said: the text comes back, and nothing stands before its first word."""

import pytest

from regard.data.tokenizer import SPACE, Tokenizer
from regard.tasks.speech.spoken import spoken

TEXTS = ["ab cb ab", "b", "cb ab", ""]


@pytest.mark.parametrize("vocabulary", [8, 30])  # characters, and words of several
def test_the_text_comes_back_without_a_space_before_it(vocabulary: int) -> None:
    tokenizer = Tokenizer.train(TEXTS * 3, vocabulary=vocabulary)
    found = spoken(tokenizer, TEXTS)
    assert [tokenizer.decode(tokens) for tokens in found] == TEXTS
    assert all(tokenizer.tokens(tokens[:1]) != [SPACE] for tokens in found)
    assert sum(map(len, found)) <= sum(map(len, tokenizer.encode(TEXTS)))
