"""Recipes: a closed, typed dataclass is the one source of a run's YAML, its flags, their help and their checks."""

import json
from argparse import SUPPRESS
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TypeVar

import yaml

from regard.training.run import RunDirectory

R = TypeVar("R")


def parse_recipe(recipe: type[R], arguments: Sequence[str], *, config: Path | None = None, program: str = "") -> R:
    """The recipe that a YAML file and flags describe; flags win.

    Args:
        recipe: the dataclass.
        arguments: flags, `--model.dim 256` or `--model.dim=256`; `--help` prints all of them and leaves.
        config: a YAML file of the same keys, or a run, whose recipe is taken.
        program: what the help calls the command.

    Raises:
        ValueError: an unknown key or flag, with the nearest known one; a value that is not what it should be.
    """
    values = {} if config is None else _read_yaml(config)
    check_keys(recipe, values, str(config))
    known = {f"--{name}" for name in option_names(recipe)}
    for argument in arguments:
        flag = argument.split("=", 1)[0]
        if flag.startswith("--") and flag not in known | {"--help"}:
            raise ValueError(f"unknown flag {flag}{_nearest(flag, known)}")
    given = {argument.split("=", 1)[0] for argument in arguments}
    for field in fields(recipe):  # type: ignore[arg-type]
        required = field.default is MISSING and field.default_factory is MISSING
        if required and field.name not in values and not {f"--{field.name}", "--help"} & given:
            raise ValueError(f"{field.name} is missing: give it as --{field.name} {field.name.upper()}")
    return _instance(recipe, values, list(arguments), program)


def recipe_of(recipe: type[R], values: Mapping[str, Any], where: str) -> R:
    """The recipe that plain values describe, as `recipe_values` made them; `where` is named in errors."""
    check_keys(recipe, values, where)
    try:
        return _instance(recipe, values, [], "")
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def recipe_values(recipe: Any) -> dict[str, Any]:
    """A recipe as plain values, for YAML."""
    return asdict(recipe)


def check_keys(recipe: type, values: Any, where: str, prefix: str = "") -> None:
    """Raise ValueError at a key that the recipe does not know, naming the nearest one that it does."""
    if not isinstance(values, Mapping):
        raise ValueError(f"{where}: {prefix.rstrip('.') or 'the file'} must be a mapping of options, got {values!r}")
    known = {field.name: field.type for field in fields(recipe)}
    for key, value in values.items():
        if key not in known:
            raise ValueError(f"{where}: unknown key {prefix}{key}{_nearest(str(key), known, prefix)}")
        if is_dataclass(known[key]):
            check_keys(known[key], value, where, f"{prefix}{key}.")  # type: ignore[arg-type]
        elif known[key] is str and not isinstance(value, str):
            raise ValueError(f'{where}: {prefix}{key} must be a text, got {value!r}; write it in quotes: {key}: "..."')


def option_names(recipe: type, prefix: str = "") -> Iterator[str]:
    """Every option of a recipe by its dotted name."""
    for field in fields(recipe):
        if is_dataclass(field.type):
            yield from option_names(field.type, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield prefix + field.name


def _nearest(word: str, known: Any, prefix: str = "") -> str:
    close = get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {prefix}{close[0]}?" if close else f"; known are: {', '.join(sorted(known))}"


def _read_yaml(path: Path) -> Any:
    if path.is_dir():
        return {key: value for key, value in RunDirectory.open(path).read_config().items() if key != "task"}
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no recipe {path}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not plain YAML: {' '.join(str(error).split())}") from None
    return {} if values is None else values


def _instance(recipe: type[R], values: Mapping[str, Any], arguments: list[str], program: str) -> R:
    from jsonargparse import ArgumentError, ArgumentParser

    usage = f"{program} [--option value ...]"
    parser = ArgumentParser(prog=program or None, usage=usage, exit_on_error=False, default_env=False)
    parser.add_class_arguments(recipe, as_positional=False)
    leaves = {*option_names(recipe), "help"}
    for action in parser._actions:  # a recipe is one file, given by --config: no --model FILE
        if action.dest not in leaves:
            action.help = SUPPRESS
    try:
        # The file's values go through the same parser as flags, before them: one check for both, and flags win.
        found = parser.parse_args([*_flags(recipe, values), *arguments])
    except ArgumentError as error:
        raise ValueError(" ".join(str(error).split())) from None
    return _made(recipe, found)


def _made(recipe: type[R], found: Any) -> R:
    """The dataclass of what was found, and the dataclasses inside it; each checks its own values."""
    return recipe(
        **{
            field.name: _made(field.type, found[field.name]) if is_dataclass(field.type) else found[field.name]  # type: ignore[arg-type]
            for field in fields(recipe)  # type: ignore[arg-type]
        }
    )


def _flags(recipe: type, values: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for field in fields(recipe):
        if field.name not in values:
            continue
        value = values[field.name]
        if is_dataclass(field.type):
            yield from _flags(field.type, value, f"{prefix}{field.name}.")  # type: ignore[arg-type]
        else:
            yield f"--{prefix}{field.name}={value if isinstance(value, str) else json.dumps(value, default=str)}"
