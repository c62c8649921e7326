"""A search by the name of its kind, and by those of its options that somebody gave."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from .options import Beam, Greedy, Sampling

KINDS: dict[str, type[Greedy] | type[Beam] | type[Sampling]] = {"greedy": Greedy, "beam": Beam, "sampling": Sampling}


def misplaced(kind: str, given: Mapping[str, Any]) -> tuple[str, str] | None:
    """The first option that this kind of search does not have, and a kind that has it."""
    for name in given:
        if name not in _names(kind):
            return name, next(other for other in KINDS if name in _names(other))
    return None


def chosen(kind: str, given: Mapping[str, Any], recipe: Beam) -> Greedy | Beam | Sampling:
    """The recipe's search with the options that were given; what a kind shares with a beam is as in the recipe.

    Raises:
        TypeError, ValueError: an option out of its range, or one that this kind does not have.
    """
    if kind == "beam":
        wide_enough = max(recipe.width, given.get("n_best", 1))
        return replace(recipe, **{"width": wide_enough, **given})
    shared = {name: getattr(recipe, name) for name in _names(kind) if hasattr(recipe, name)}
    return KINDS[kind](**{**shared, **given})


def _names(kind: str) -> set[str]:
    return {field.name for field in fields(KINDS[kind])}
