"""The events of the demo: headlines follow from their records, and names of the test are new."""

import re

from regard.tasks.summarization import events
from regard.tasks.summarization.events import EXAMPLES, generate


def fields(record: str) -> dict[str, str]:
    return dict(part.split(": ", 1) for part in record.removesuffix(".").split(". "))


def test_they_depend_on_their_arguments_alone() -> None:
    assert generate(23, seed=5) == generate(23, seed=5)
    assert generate(23, seed=5) != generate(23, seed=6)


def test_names_of_the_test_are_in_no_training_record() -> None:
    train = " ".join(event.record for event in generate(1500, seed=1))
    for event in generate(300, seed=1, split="test"):
        for name in event.names:
            assert name in event.record
            assert name in event.headline
            assert not re.search(rf"\b{name}\b", train)


def test_headlines_follow_from_their_records() -> None:
    seen = set()
    for event in generate(400, seed=3):
        given = fields(event.record)
        if "Home" in given:
            ours, theirs = int(given["Goals at home"]), int(given["Goals away"])
            winner, loser = (given["Home"], given["Away"]) if ours > theirs else (given["Away"], given["Home"])
            expected = f"{winner} beat {loser} {max(ours, theirs)} to {min(ours, theirs)}"
            if ours == theirs:
                expected = f"{given['Home']} and {given['Away']} draw {ours} to {theirs}"
        elif "Earthquake" in given:
            strength = float(given["Magnitude"].replace(",", "."))
            word = "Weak" if strength < 4.5 else "Strong" if strength >= 6 else "Moderate"
            expected = f"{word} earthquake strikes {given['Earthquake']}"
        elif "Election" in given:
            votes = {key.split()[2]: int(given[key]) for key in given if key.startswith("Votes for")}
            expected = f"{max(votes, key=votes.__getitem__)} elected {given['Election']}"
        else:
            verb = "sold out" if given["Tickets left"] == "none" else "to play"
            expected = f"{given['Concert']} {verb} at {given['Hall']} on {given['Date']}"
        assert event.headline == expected
        seen.add(expected.split()[-2])
    assert len(seen) > 4


def test_the_examples_are_events_too() -> None:
    for record, headline in EXAMPLES.items():
        given = fields(record)
        assert any(word in headline for word in given.values())
    assert set(events.SIZES) == {"train", "validation", "test"}
