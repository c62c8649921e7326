"""What can be said of a drawn scene: its things, and where two of them lie."""

from random import Random

from regard.tasks.scenes import Drawn, Thing

_APART = 0.18  # of the picture's side: less far apart, nothing is said of where things lie


def captions(drawn: Drawn, random: Random, *, count: int = 5) -> list[str]:
    """True captions of a scene, as several people might write them; some may be the same."""
    return [_caption(drawn, random) for _ in range(count)]


def _caption(drawn: Drawn, random: Random) -> str:
    side = drawn.scene.size[0]
    things = sorted(drawn.things, key=lambda thing: -thing.radius)
    if not things:
        return "nothing but clouds"
    first = things[0]
    others = things[1:]
    if not others:
        return random.choice(("{one} .", "there is {one} .", "a picture of {one} .")).format(one=_named(first, random))
    second = random.choice(others)
    relation = _relation(first, second, side)
    one, other = _named(first, random), _named(second, random)
    if random.random() < 0.5:
        one, other, relation = other, one, _OPPOSITE.get(relation, relation)
    return f"{one} {relation} {other} ."


_OPPOSITE = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}


def _relation(one: Thing, other: Thing, side: int) -> str:
    """Where the first lies, seen from the second."""
    across, down = one.column - other.column, one.row - other.row
    if max(abs(across), abs(down)) < _APART * side:
        return "and"
    if abs(across) >= abs(down):
        return "left of" if across < 0 else "right of"
    return "above" if down < 0 else "below"


def _named(thing: Thing, random: Random) -> str:
    """A thing with some of what can be said of it."""
    said = [thing.colour, thing.shape]
    if thing.texture != "plain" and random.random() < 0.7:
        said.insert(0, thing.texture)
    if thing.size != "middling" and random.random() < 0.7:
        said.insert(0, thing.size)
    article = "an" if said[0][0] in "aeiou" else "a"
    return " ".join((article, *said))
