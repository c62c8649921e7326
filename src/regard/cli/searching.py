"""Flags that choose how to search, shared by the commands that decode."""

import argparse
from typing import Any

from regard.decoding import Beam, Greedy, Sampling
from regard.decoding.choosing import KINDS, chosen, misplaced

_FLAGS = {
    "width": (int, "beam: outputs kept at every step"),
    "length_penalty": (float, "beam: 0 favours short outputs, 1 ranks by the mean over tokens"),
    "n_best": (int, "beam: outputs given for each input"),
    "temperature": (float, "sampling: below 1 sharpens, above 1 flattens"),
    "top_k": (int, "sampling: draw among the K likeliest tokens (0: all)"),
    "top_p": (float, "sampling: draw among the likeliest tokens that together have probability P"),
    "samples": (int, "sampling: outputs drawn for each input"),
    "seed": (int, "sampling: seed"),
    "max_length": (int, "longest output, in tokens"),
    "min_length": (int, "shortest output, in tokens"),
    "no_repeat_ngram": (int, "no N tokens in a row appear twice (0: off)"),
}


def add_search_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--search` and the options of every kind of search."""
    group = parser.add_argument_group(
        "search", "of models that write: how to search; what is not given is as in the model's recipe"
    )
    group.add_argument("--search", choices=list(KINDS), help="default: beam")
    for name, (kind, text) in _FLAGS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, dest=name, help=text)


def search_options(arguments: argparse.Namespace, recipe: Any) -> dict[str, Greedy | Beam | Sampling]:
    """What the predictor is told of how to search: the recipe's search with the flags that were given.

    Nothing, for a model that writes nothing and so has no search in its recipe.

    Raises:
        ValueError: a flag that the chosen kind of search does not have, or for a model that does not search.
    """
    if not hasattr(recipe, "decoding"):
        flags = [name for name in ("search", *_FLAGS) if getattr(arguments, name) is not None]
        if flags:
            raise ValueError(
                f"--{flags[0].replace('_', '-')} is for models that write, and {arguments.model} is none: take it out"
            )
        return {}
    return {"options": _options(arguments, recipe.decoding)}


def _options(arguments: argparse.Namespace, recipe: Beam) -> Greedy | Beam | Sampling:
    kind = arguments.search or "beam"
    given = {name: getattr(arguments, name) for name in _FLAGS if getattr(arguments, name) is not None}
    if found := misplaced(kind, given):
        name, owner = found
        raise ValueError(f"--{name.replace('_', '-')} does nothing in {kind} search; add --search {owner}")
    return chosen(kind, given, recipe)
