"""Dates, times and numbers as people write them in two dozen places of the world, and their ISO form.

The words, orders, marks and digits are those of the Unicode CLDR, by the `babel` library: real data to learn
from, and nothing to download. What holds no letter is ambiguous without its place (3/4/1987 is in March in
the United States and in April in Britain; 1.234 is a small number or a large one), so it is written behind
the name of the place: "en-US: 3/4/1987", "de: 1.234,5". So no input, lower-cased or not, has two answers.
"""

import datetime
import hashlib
from decimal import Decimal
from functools import cache
from random import Random
from typing import Any, Literal

from regard.data.parallel import ParallelText

Split = Literal["train", "validation", "test"]

LOCALES = (
    *("en_US", "en_GB", "de", "fr", "es", "it", "pt", "nl", "sv", "fi", "pl", "cs", "hu", "tr", "vi"),
    *("ru", "uk", "el", "he", "ar_EG", "hi", "bn", "ja", "zh", "ko"),
)

# The names that CLDR has for the forms of each kind, and how often a kind comes.
STYLES = {
    "date": ("full", "long", "medium", "yMd"),
    "time": ("hm", "hms", "Hm", "Hms"),
    "number": ("decimal",),
}
SHARES = {"date": 0.6, "time": 0.2, "number": 0.2}

SIZES: dict[Split, int] = {"train": 100_000, "validation": 1_000, "test": 2_000}

# To show what was learned: kept out of training and validation, in every language.
EXAMPLES = {
    "Donnerstag, 9. November 1989": "1989-11-09",
    "July 20, 1969": "1969-07-20",
    "sábado, 1 de enero de 2000": "2000-01-01",
    "вторник, 12 апреля 2061 г.": "2061-04-12",
    "Τρίτη 3 Μαρτίου 1987": "1987-03-03",
    "1964年10月10日土曜日": "1964-10-10",
    "en-US: 3/4/1987": "1987-03-04",
    "en-GB: 03/04/1987": "1987-04-03",
    "下午11:45": "23:45",
    "de: 31.415,92": "31415.92",
}

# What a keyboard types for the spaces, the minus and the invisible marks that CLDR prescribes.
_TYPED = str.maketrans({"\u202f": " ", "\u00a0": " ", "\u2212": "-", "\u200e": None, "\u200f": None})


# The first digit of each numbering system.
_ZEROS = {"latn": 0x0030, "arab": 0x0660, "beng": 0x09E6}


def generate(
    count: int, *, seed: int, split: Split = "train", first_year: int = 1900, last_year: int = 2099
) -> ParallelText:
    """Make `count` different inputs with their answers, a pure function of the arguments.

    The answer alone decides on the split (see `split_of`): a date, time or number of validation or test does
    not occur in training, in any language or form, whatever the seeds and counts.

    Args:
        count: how many pairs; SIZES are what the demo takes.
        seed: of the choice.
        split: "train", "validation" or "test".
        first_year, last_year: of the dates, both included.
    """
    chance = Random(f"{split} {seed}")
    first = datetime.date(first_year, 1, 1).toordinal()
    last = datetime.date(last_year, 12, 31).toordinal()
    kinds, shares = list(SHARES), list(SHARES.values())
    answers: dict[str, str] = {}
    while len(answers) < count:
        (kind,) = chance.choices(kinds, shares)
        style = chance.choice(STYLES[kind])
        place = chance.choice(LOCALES)
        value: datetime.date | datetime.time | Decimal
        if kind == "date":
            value = datetime.date.fromordinal(chance.randint(first, last))
        elif kind == "time":
            value = datetime.time(chance.randrange(24), chance.randrange(60), chance.randrange(60))
        else:
            value = _some_number(chance)
        answer = iso(value, style)
        if split_of(answer) == split:
            answers[write(value, style, place)] = answer
    name = f"generated dates, {split}, seed {seed}"
    return ParallelText(list(answers), list(answers.values()), f"{name}, as written", f"{name}, ISO")


def split_of(answer: str) -> Split:
    """Where an answer belongs, by its hash: one in twenty to validation, one to test, the rest to train."""
    if answer in EXAMPLES.values():
        return "test"
    bucket = hashlib.sha256(answer.encode()).digest()[0] % 20
    return "test" if bucket == 0 else "validation" if bucket == 1 else "train"


def iso(value: datetime.date | datetime.time | Decimal, style: str) -> str:
    """The answer: 1987-03-04, 15:05 (15:05:09 where the style has seconds), -1234.5."""
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, datetime.time):
        return value.isoformat("seconds" if "s" in style else "minutes")
    return value.isoformat()


def write(value: datetime.date | datetime.time | Decimal, style: str, place: str) -> str:
    """What people in `place` write for `value`, behind the name of the place where it holds no letter."""
    locale = _locale(place)
    if isinstance(value, Decimal):
        from babel.numbers import format_decimal

        text = format_decimal(value, locale=locale, numbering_system="default")
    else:
        forms = locale.date_formats if style in locale.date_formats else locale.datetime_skeletons
        text = forms[style].apply(value, locale)
    text = text.translate(_digits(place)).translate(_TYPED)
    return text if any(map(str.isalpha, text)) else f"{place.replace('_', '-')}: {text}"


def _some_number(chance: Random) -> Decimal:
    """Up to six digits before and two after the point, each length as often; no fraction ends in zero."""
    whole = chance.randrange(10 ** chance.randint(1, 6))
    fraction = chance.choice(("", f".{chance.randint(1, 9)}", f".{chance.randrange(10)}{chance.randint(1, 9)}"))
    sign = "-" if chance.random() < 0.1 and (whole or fraction) else ""
    return Decimal(f"{sign}{whole}{fraction}")


@cache
def _locale(place: str) -> Any:
    from babel import Locale

    return Locale.parse(place)


@cache
def _digits(place: str) -> dict[int, int]:
    """From European digits, which babel writes everywhere, to those of the place."""
    zero = _ZEROS[_locale(place).default_numbering_system]
    return {ord("0") + digit: zero + digit for digit in range(10)}
