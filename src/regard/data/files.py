"""The files of a data folder: found by name, and told in errors."""

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path


def plain_or_gz(path: Path) -> list[Path]:
    """The file and its packed form, those of the two that are there."""
    return [each for each in (path, Path(f"{path}.gz")) if each.is_file()]


def names(folder: Path) -> list[str]:
    """What a folder holds; nothing, where there is none."""
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def require_folder(folder: Path) -> None:
    """Raise ValueError where there is no such folder, with the name that is like it."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder{hint(folder.name, names(folder.parent))}")


def only(found: Sequence[tuple[Path, ...]], folder: Path, name: str) -> tuple[Path, ...]:
    """The one form in which the folder holds `name`.

    Raises:
        ValueError: there are several.
    """
    if len(found) > 1:
        choices = "; ".join(" with ".join(path.name for path in paths) for paths in found)
        raise ValueError(f"{folder} holds {name!r} more than once ({choices}): move all but one out of the folder")
    return found[0]


def nearest(wanted: str, known: Sequence[str]) -> str:
    """The known name that is most like the one wanted, if one is."""
    return next(iter(get_close_matches(wanted, known, n=1)), "")


def hint(wanted: str, known: Sequence[str]) -> str:
    """A question after an error: which known name was meant."""
    near = nearest(wanted, known)
    return f"; did you mean {near!r}?" if near else ""


def listed(things: Sequence[object], limit: int = 12) -> str:
    """The first things by name, and how many more there are."""
    rest = f" and {len(things) - limit} more" if len(things) > limit else ""
    return ", ".join(str(thing) for thing in things[:limit]) + rest


def shortened(text: str, limit: int = 80) -> str:
    """The beginning of a text, short enough for an error."""
    return text.strip() if len(text.strip()) <= limit else text.strip()[: limit - 3] + "..."
