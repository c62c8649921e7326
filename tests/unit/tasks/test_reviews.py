"""The reviews of the demo: no word alone says what they are, and what is tested was never trained on."""

from collections import Counter

from regard.tasks.sentiment import reviews
from regard.tasks.sentiment.reviews import EXAMPLES, generate


def test_they_depend_on_their_arguments_alone() -> None:
    assert generate(23, seed=5) == generate(23, seed=5)
    assert generate(23, seed=5) != generate(23, seed=6)
    assert len({review.text for review in generate(97, seed=5)}) == 97


def test_splits_share_no_text() -> None:
    splits = [{review.text for review in generate(200, seed=1, split=split)} for split in reviews.SIZES]
    assert sum(map(len, splits)) == len(set.union(*splits)) == 600
    assert not (splits[0] | splits[1]) & set(EXAMPLES)


def test_the_deciding_words_are_in_the_text() -> None:
    for review in generate(200, seed=2):
        words = set(review.text.lower().replace(",", " ").replace(".", " ").split())
        assert review.deciding <= words, review


def test_neither_a_turning_word_nor_an_adjective_says_what_a_review_is() -> None:
    some = generate(3000, seed=3)
    assert 0.45 < sum(review.positive for review in some) / len(some) < 0.55
    for word in ("not", "but", "although", "brilliant", "awful"):
        counts = Counter(review.positive for review in some if f" {word}" in review.text)
        assert min(counts[True], counts[False]) > 0.12 * sum(counts.values()), (word, counts)


def test_by_hand() -> None:
    """The rules, on reviews of two clauses whose adjectives are known."""
    good, bad = set(reviews._GOOD), set(reviews._BAD)
    seen = Counter()
    for review in generate(2000, seed=4):
        if ", but the " not in review.text or " not only " in review.text or "far from" in review.text:
            continue
        end = review.text.split(", but the ")[1].split(".")[0].split(" was ")[1].split()
        turned = len(end) > 1
        assert {end[-1]} & (good | bad)
        assert review.positive == ((end[-1] in good) != turned), review
        seen[turned] += 1
    assert min(seen[True], seen[False]) > 20


def test_some_turns_are_for_the_test_alone() -> None:
    def pairs(split: str) -> set[tuple[str, str]]:
        found = set()
        for review in generate(1500, seed=1, split=split):
            for adjective in reviews._GOOD + reviews._BAD:
                found |= {(turn, adjective) for turn in reviews._TURNS if f" was {turn} {adjective}" in review.text}
        return found

    assert len(pairs("test") - pairs("train")) > 20
