"""Laws of sub-words that are cut anew: the text stays, and (seed, epoch) decides the cuts."""

import random

import pytest

from regard.data.resegmentation import Resegmentation
from regard.data.tokenizer import Tokenizer
from regard.models.tokens import UNKNOWN


def sentences(count: int = 203) -> list[str]:
    chance = random.Random(5)
    words = ["".join(chance.choices("abcdefgxyzäß", k=chance.randint(1, 9))) for _ in range(61)]
    return [
        " ".join(chance.choices(words, k=chance.randint(1, 11))) + chance.choice(".!? ").strip() for _ in range(count)
    ]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(sentences(), vocabulary=211)


def test_nothing_left_out_is_encode(tokenizer: Tokenizer) -> None:
    texts = [*sentences(), "", "aa aaa abab xyzxyz (ß) 1987"]
    assert Resegmentation(tokenizer, texts, p=0.0, seed=1).epoch(3) == tokenizer.encode(texts)


def test_lower_case_is_the_tokenizers() -> None:
    tokenizer = Tokenizer.train(["Ein Haus", "EIN HAUS"] * 3, vocabulary=31, lowercase=True)
    assert Resegmentation(tokenizer, ["Ein HAUS"], p=0.0, seed=1).epoch(0) == tokenizer.encode(["ein haus"])


@pytest.mark.parametrize("p", [0.1, 0.5, 1.0])
def test_the_text_stays(tokenizer: Tokenizer, p: float) -> None:
    texts = sentences()
    cut = Resegmentation(tokenizer, texts, p=p, seed=1).epoch(0)
    assert [tokenizer.decode(ids) for ids in cut] == texts


def test_everything_left_out_is_characters(tokenizer: Tokenizer) -> None:
    [cut] = Resegmentation(tokenizer, ["abc xyz"], p=1.0, seed=1).epoch(0)
    assert tokenizer.tokens(cut) == [*"▁abc", *"▁xyz"]


def test_more_left_out_is_more_pieces(tokenizer: Tokenizer) -> None:
    lengths = [
        sum(map(len, Resegmentation(tokenizer, sentences(), p=p, seed=1).epoch(0))) for p in (0.0, 0.1, 0.3, 0.6, 1.0)
    ]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) == 5


def test_seed_and_epoch_decide(tokenizer: Tokenizer) -> None:
    one, same, other = (Resegmentation(tokenizer, sentences(), p=0.2, seed=seed) for seed in (1, 1, 2))
    later = one.epoch(5)
    assert one.epoch(4) != later
    assert same.epoch(5) == later, "whatever was drawn before"
    assert other.epoch(5) != later


def test_occurrences_of_a_word_are_cut_in_several_ways(tokenizer: Tokenizer) -> None:
    cut = Resegmentation(tokenizer, ["abcdefg"] * 50, p=0.5, seed=1).epoch(0)
    assert 1 < len(set(map(tuple, cut))) <= 4


def test_a_character_never_seen_is_unknown(tokenizer: Tokenizer) -> None:
    texts = ["a漢b"]
    assert Resegmentation(tokenizer, texts, p=0.0, seed=1).epoch(0) == tokenizer.encode(texts)
    assert UNKNOWN in tokenizer.encode(texts)[0]


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
def test_what_is_no_probability(tokenizer: Tokenizer, p: float) -> None:
    with pytest.raises(ValueError, match="0 <= p <= 1"):
        Resegmentation(tokenizer, ["a"], p=p, seed=1)
