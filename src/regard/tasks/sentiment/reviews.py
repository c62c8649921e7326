"""Reviews whose sense hangs on a word: negation, contrast and expectation, with the words that decide.

A clause praises or blames by its adjective; "not", "hardly" or "far from" turn it, "not only ... but" does not. Of two
clauses the one behind "but" counts, of those with "although" the other one, and what was expected counts for nothing.
So no adjective, and no "not", says by itself what a review is.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Literal

Split = Literal["train", "validation", "test"]

SIZES: dict[Split, int] = {"train": 20_000, "validation": 1_000, "test": 2_000}

_GOOD = (
    *("brilliant", "charming", "clever", "delightful", "elegant", "fine", "fresh", "funny", "good", "great"),
    *("gripping", "honest", "lovely", "moving", "sharp", "superb", "thrilling", "warm", "wise", "wonderful"),
)
_BAD = (
    *("awful", "bad", "bland", "boring", "cheap", "clumsy", "dreary", "dull", "flat", "grating"),
    *("lifeless", "messy", "noisy", "poor", "shallow", "silly", "stale", "tedious", "terrible", "weak"),
)
_THINGS = (
    *("acting", "camera work", "cast", "dialogue", "ending", "first half", "lead", "music", "pacing", "plot"),
    *("script", "second half", "sound", "story", "title song"),
)
_TURNS = ("not", "never", "hardly", "far from", "anything but")
_ASIDES = (
    *("We saw it on a Sunday.", "My sister had the tickets.", "It runs for two hours.", "The cinema was half empty."),
    *("I had read the book.", "It was filmed in Spain.", "They made it in a year.", "A friend told me about it."),
)

# To show what was learned: kept out of training and validation.
EXAMPLES = {
    "The music was lovely, but the ending was not good.": "negative",
    "Although the plot was silly, the acting was superb.": "positive",
    "The script was not only clever but moving.": "positive",
    "I expected a dull film and got a thrilling one.": "positive",
    "The cast was far from weak, although the sound was poor.": "positive",
    "The story was anything but gripping.": "negative",
}


@dataclass(frozen=True, kw_only=True)
class Review:
    """A review, whether it is one of praise, and the words that decide that.

    They are the adjective that counts, what turns it, and the word that says which of two counts ("but").
    """

    text: str
    positive: bool
    deciding: frozenset[str]

    @property
    def label(self) -> str:
        return "positive" if self.positive else "negative"


def generate(count: int, *, seed: int, split: Split = "train") -> list[Review]:
    """Make `count` different reviews, a pure function of the arguments.

    The text alone decides on its split, by its hash. One pair in five of a turning word and an adjective is in no
    training or validation review: test reviews ask of some adjectives what they are when turned for the first time.
    """
    chance = Random(f"{split} {seed}")
    found: dict[str, Review] = {}
    while len(found) < count:
        review = _review(chance, new=split == "test")
        if _split_of(review.text) == split:
            found[review.text] = review
    return list(found.values())


def _split_of(text: str) -> Split:
    if text in EXAMPLES:
        return "test"
    bucket = _hash(text) % 20
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def _a(adjective: str) -> str:
    return f"{'an' if adjective[0] in 'aeiou' else 'a'} {adjective}"


@cache
def _hash(text: str) -> int:
    return hashlib.sha256(text.encode()).digest()[0]


@dataclass(frozen=True)
class _Clause:
    text: str
    positive: bool
    deciding: frozenset[str]


def _clause(chance: Random, thing: str, *, new: bool) -> _Clause:
    """One thing that is said of the film; `new` lets in the pairs that no training review has."""
    positive = chance.random() < 0.5
    adjective = chance.choice(_GOOD if positive else _BAD)
    kind = chance.random()
    if kind < 0.45:
        return _Clause(f"the {thing} was {adjective}", positive, frozenset({adjective}))
    if kind < 0.6:
        other = chance.choice([word for word in (_GOOD if positive else _BAD) if word != adjective])
        return _Clause(f"the {thing} was not only {adjective} but {other}", positive, frozenset({adjective, other}))
    pairs = [turn for turn in _TURNS if new or _hash(f"{turn} {adjective}") % 5]
    if not pairs:
        return _Clause(f"the {thing} was {adjective}", positive, frozenset({adjective}))
    turn = chance.choice(pairs)
    return _Clause(f"the {thing} was {turn} {adjective}", not positive, frozenset({adjective, *turn.split()}))


def _review(chance: Random, *, new: bool) -> Review:
    one, other = chance.sample(_THINGS, 2)
    first, second = _clause(chance, one, new=new), _clause(chance, other, new=new)
    form = chance.choice(("one", "but", "although first", "although second", "expected", "called"))
    if form == "one":
        text, decides, chooses = first.text, first, set[str]()
    elif form == "but":
        text, decides, chooses = f"{first.text}, but {second.text}", second, {"but"}
    elif form == "although first":
        text, decides, chooses = f"although {first.text}, {second.text}", second, {"although"}
    elif form == "although second":
        text, decides, chooses = f"{first.text}, although {second.text}", first, {"although"}
    else:
        positive = chance.random() < 0.5
        wanted, got = (chance.choice(words) for words in ((_BAD, _GOOD) if positive else (_GOOD, _BAD)))
        text, chooses = f"I expected {_a(wanted)} film and got {_a(got)} one", {"expected", "got"}
        if form == "called":
            text, chooses = f"they called it {wanted}, and it was {got}", {"called"}
        decides = _Clause(text, positive, frozenset({got}))
    sentences = [f"{text[0].upper()}{text[1:]}."]
    if chance.random() < 0.5:
        sentences.insert(chance.randrange(2), chance.choice(_ASIDES))
    return Review(text=" ".join(sentences), positive=decides.positive, deciding=decides.deciding | chooses)
