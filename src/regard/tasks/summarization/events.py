"""Records of events and their headlines: what happened is said in a few words, and names have to be copied.

Names are made of syllables, and those of test records are in no training record, so that a model which can only write
what it has learned to write gets them wrong. Records hold more than their headline tells, in any order.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Literal

Split = Literal["train", "validation", "test"]

SIZES: dict[Split, int] = {"train": 12_000, "validation": 500, "test": 500}

_STARTS = ("B", "Br", "D", "Dr", "F", "G", "H", "K", "Kr", "L", "M", "N", "P", "R", "S", "St", "T", "Tr", "V", "Z")
_VOWELS = ("a", "e", "i", "o", "u", "ai", "ei", "ou")
_ENDS = ("", "k", "l", "lm", "m", "n", "nd", "r", "rn", "s", "st", "x")
_MONTHS = ("January", "March", "April", "June", "August", "October", "December")
_WEATHER = ("rain", "fog", "sun", "wind", "snow", "clouds")


@dataclass(frozen=True, kw_only=True)
class Event:
    """A record, its headline, and the names in it."""

    record: str
    headline: str
    names: tuple[str, ...]


def generate(count: int, *, seed: int, split: Split = "train") -> list[Event]:
    """Make `count` events, a pure function of the arguments; no name of a test event is one of another split."""
    chance = Random(f"{split} {seed}")
    found: dict[str, Event] = {}
    while len(found) < count:
        event = chance.choice(_KINDS)(chance, lambda: _name(chance, test=split == "test"))
        found[event.record] = event
    return list(found.values())


def _name(chance: Random, *, test: bool) -> str:
    """A word that no one has heard of; one in five of them is for the test alone, by its hash."""
    while True:
        syllables = [chance.choice(_STARTS) + chance.choice(_VOWELS) for _ in range(chance.choice((2, 3, 3)))]
        name = ("".join(syllables) + chance.choice(_ENDS)).title()
        if (hashlib.sha256(name.encode()).digest()[0] % 5 == 0) == test:
            return name


Namer = Callable[[], str]


def _event(chance: Random, fields: Mapping[str, object], headline: str, names: tuple[str, ...]) -> Event:
    """The fields in any order, each a sentence."""
    lines = [f"{name}: {value}." for name, value in fields.items()]
    chance.shuffle(lines)
    return Event(record=" ".join(lines), headline=headline, names=names)


def _match(chance: Random, name: Namer) -> Event:
    home, away, scorer, town = name(), name(), name(), name()
    ours, theirs = chance.randrange(5), chance.randrange(5)
    if ours == theirs:
        headline = f"{home} and {away} draw {ours} to {theirs}"
    else:
        winner, loser = (home, away) if ours > theirs else (away, home)
        headline = f"{winner} beat {loser} {max(ours, theirs)} to {min(ours, theirs)}"
    fields = {
        **{"Home": home, "Away": away, "Goals at home": ours, "Goals away": theirs, "Ground": town},
        **{"First goal": scorer, "Spectators": chance.randrange(200, 9000), "Weather": chance.choice(_WEATHER)},
    }
    return _event(chance, fields, headline, (home, away))


def _quake(chance: Random, name: Namer) -> Event:
    place, near = name(), name()
    strength = chance.randrange(30, 80)
    what = "Weak" if strength < 45 else "Strong" if strength >= 60 else "Moderate"
    fields = {
        **{"Earthquake": place, "Nearest station": near, "Magnitude": f"{strength // 10},{strength % 10}"},
        **{"Depth in km": chance.randrange(3, 90), "Hour": chance.randrange(24), "Reported by": name()},
    }
    return _event(chance, fields, f"{what} earthquake strikes {place}", (place,))


def _vote(chance: Random, name: Namer) -> Event:
    town, one, other, third = name(), name(), name(), name()
    shares = chance.sample(range(20, 48), 2)
    winner = one if shares[0] > shares[1] else other
    fields = {
        **{"Election": f"mayor of {town}", f"Votes for {one} in percent": shares[0]},
        **{f"Votes for {other} in percent": shares[1], f"Votes for {third} in percent": chance.randrange(2, 19)},
        **{"Turnout": chance.randrange(40, 90), "Counted at": name()},
    }
    return _event(chance, fields, f"{winner} elected mayor of {town}", (winner, town))


def _concert(chance: Random, name: Namer) -> Event:
    artist, hall, town = name(), name(), name()
    day, month = chance.randrange(1, 29), chance.choice(_MONTHS)
    sold = chance.random() < 0.5
    fields = {
        **{"Concert": artist, "Hall": f"{hall} Hall", "Town": town, "Date": f"{day} {month}"},
        **{"Tickets left": "none" if sold else chance.randrange(5, 900), "Support": name()},
    }
    headline = f"{artist} {'sold out' if sold else 'to play'} at {hall} Hall on {day} {month}"
    return _event(chance, fields, headline, (artist, hall))


_KINDS = (_match, _quake, _vote, _concert)

# To show what was learned: names that nobody has.
EXAMPLES = {
    "Home: Trouvka. Away: Zeidorn. Weather: fog. Goals away: 3. Goals at home: 1. Ground: Mailest. First goal: Pokalm. "
    "Spectators: 812.": "Zeidorn beat Trouvka 3 to 1",
    "Nearest station: Hausim. Earthquake: Kroubend. Hour: 4. Depth in km: 12. Magnitude: 6,3. "
    "Reported by: Vistax.": "Strong earthquake strikes Kroubend",
    "Votes for Dreigan in percent: 41. Counted at: Luros. Election: mayor of Stoupai. Turnout: 63. "
    "Votes for Bramoul in percent: 33. Votes for Nikas in percent: 9.": "Dreigan elected mayor of Stoupai",
}
