import datetime
import itertools
import random
from collections.abc import Iterator
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("babel", reason="the demo's data are made by babel")

from regard.tasks.dates import EXAMPLES, LOCALES, STYLES, generate, iso, split_of, write

Value = datetime.date | datetime.time | Decimal


@pytest.mark.parametrize(
    ("value", "style", "place", "written", "answer"),
    [
        (datetime.date(1987, 3, 4), "full", "de", "Mittwoch, 4. März 1987", "1987-03-04"),
        (datetime.date(1987, 3, 4), "long", "en_US", "March 4, 1987", "1987-03-04"),
        (datetime.date(1987, 3, 4), "yMd", "en_US", "en-US: 3/4/1987", "1987-03-04"),
        (datetime.date(1987, 3, 4), "yMd", "en_GB", "en-GB: 04/03/1987", "1987-03-04"),
        (datetime.date(1987, 3, 4), "long", "ru", "4 марта 1987 г.", "1987-03-04"),
        (datetime.date(1987, 3, 4), "long", "bn", "৪ মার্চ, ১৯৮৭", "1987-03-04"),
        (datetime.time(15, 5, 9), "hm", "en_US", "3:05 PM", "15:05"),
        (datetime.time(0, 5, 9), "hms", "zh", "上午12:05:09", "00:05:09"),
        (datetime.time(15, 5, 9), "Hm", "fi", "fi: 15.05", "15:05"),
        (Decimal("-1234.5"), "decimal", "de", "de: -1.234,5", "-1234.5"),
        (Decimal("-1234.5"), "decimal", "sv", "sv: -1 234,5", "-1234.5"),
        (Decimal("123456.78"), "decimal", "hi", "hi: 1,23,456.78", "123456.78"),
    ],
)
def test_by_hand(value: Value, style: str, place: str, written: str, answer: str) -> None:
    assert write(value, style, place) == written
    assert iso(value, style) == answer


def everything() -> Iterator[tuple[Value, str, str]]:
    """Days of every month, times and numbers, in every form of every place."""
    days = [datetime.date(2004, 1, 1) + datetime.timedelta(days) for days in range(0, 366, 3)]
    yield from itertools.product(days, STYLES["date"], LOCALES)
    times = [datetime.time(second // 3600, second // 60 % 60, second % 60) for second in range(0, 86_400, 1009)]
    yield from itertools.product(times, STYLES["time"], LOCALES)
    chance = random.Random(7)
    numbers = [Decimal(chance.randrange(-(10**length), 10**length)) for length in range(1, 8) for _ in range(11)]
    yield from itertools.product(numbers + [number / 100 for number in numbers], STYLES["number"], LOCALES)


def test_no_input_has_two_answers() -> None:
    """Lower-cased inputs neither, so that a tokenizer may lower-case them."""
    answers: dict[str, str] = {}
    for value, style, place in everything():
        answer = iso(value, style)
        assert answers.setdefault(write(value, style, place).lower(), answer) == answer
    assert len(answers) > 20_000


def test_the_same_arguments_make_the_same_pairs() -> None:
    first = generate(307, seed=5)
    random.seed(1)
    again = generate(307, seed=5)
    assert (first.sources, first.targets) == (again.sources, again.targets)
    assert generate(307, seed=6).sources != first.sources
    assert generate(101, seed=5).sources == first.sources[:101]
    assert len(first) == len(set(first.sources)) == 307


def test_splits_share_neither_inputs_nor_answers() -> None:
    splits = [generate(401, seed=seed, split=split) for seed, split in enumerate(("train", "validation", "test"))]
    for one, other in itertools.combinations(splits, 2):
        assert not set(one.sources) & set(other.sources)
        assert not set(one.targets) & set(other.targets)
    assert {split_of(answer) for answer in splits[0].targets} == {"train"}


def test_one_answer_in_twenty_is_for_the_test() -> None:
    first = datetime.date(1900, 1, 1)
    splits = [split_of((first + datetime.timedelta(day)).isoformat()) for day in range(10_007)]
    assert splits.count("test") / len(splits) == pytest.approx(0.05, abs=0.01)
    assert splits.count("validation") / len(splits) == pytest.approx(0.05, abs=0.01)


def test_the_examples_are_written_like_the_data_and_never_trained_on() -> None:
    for text, answer in EXAMPLES.items():
        assert split_of(answer) == "test"
        if ":" in answer:
            values: list[Value] = [datetime.time.fromisoformat(answer)]
        elif "-" in answer:
            values = [datetime.date.fromisoformat(answer)]
        else:
            values = [Decimal(answer)]
        kind = {datetime.time: "time", datetime.date: "date", Decimal: "number"}[type(values[0])]
        assert text in {write(*form) for form in itertools.product(values, STYLES[kind], LOCALES)}


def test_all_places_and_kinds_come() -> None:
    pairs = generate(2003, seed=3)
    labels = {text.split(":")[0] for text in pairs.sources if text.split(":")[0].replace("-", "_") in LOCALES}
    assert labels == {place.replace("_", "-") for place in LOCALES}
    dates = [answer for answer in pairs.targets if answer[4:5] == "-" == answer[7:8]]
    assert 0.55 < len(dates) / len(pairs) < 0.65
    assert {answer[:2] for answer in dates} == {"19", "20"}
    assert {date[:4] for date in generate(97, seed=3, first_year=1987, last_year=1987).targets if date[4:5] == "-"} == {
        "1987"
    }


@given(count=st.integers(1, 61), seed=st.integers())
def test_inputs_are_what_a_keyboard_types(count: int, seed: int) -> None:
    pairs = generate(count, seed=seed)
    assert len(pairs) == count
    for text, answer in zip(pairs.sources, pairs.targets, strict=True):
        assert text == " ".join(text.split())
        assert not {"\u202f", "\u00a0", "\u200f", "\u200e", "\u2212"} & set(text)
        assert set(answer) <= set("0123456789-:.")
