"""The repository speaks of the project alone, and what is shipped is whole."""

import re
import subprocess
from importlib import resources
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Written so that no pattern matches its own source.
FOREIGN = {
    "a folder of one machine": re.compile(r"(?<![\w.])/(?:root|work|opt|home/\w+|Users/\w+)/|[A-Z]:\\Users"),
    "the host of a package registry": re.compile(r"pypi\.org|python[h]osted|registry\.npmjs|deb\.debian|crates\.io"),
}


def tracked_files() -> list[Path]:
    """Files that git tracks, or would track."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for name in listing.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def read_text(path: Path) -> str | None:
    """The text of a file, or None for a binary one."""
    data = path.read_bytes()
    return None if b"\0" in data else data.decode("utf-8")


def foreign_lines(name: str, text: str) -> list[str]:
    return [
        f"{name}:{number}: {kind}: {line.strip()[:120]}"
        for number, line in enumerate(text.splitlines(), 1)
        for kind, pattern in FOREIGN.items()
        if pattern.search(line)
    ]


@pytest.mark.requires("git")
def test_no_file_names_a_machine_or_a_registry() -> None:
    files = tracked_files()
    assert len(files) > 20, "the repository's files were not found"
    texts = {path.relative_to(ROOT).as_posix(): text for path in files if (text := read_text(path)) is not None}
    assert [line for name, text in texts.items() for line in foreign_lines(name, text)] == []


@pytest.mark.parametrize("parts", [("see /ro", "ot/x"), ("'/ho", "me/anna/data'"), ("https://py", "pi.org/simple")])
def test_a_planted_line_is_found(parts: tuple[str, str]) -> None:
    assert foreign_lines("page.md", "fine\n" + "".join(parts)) != []
    assert foreign_lines("page.md", "a/work/in/progress, /usr/bin/env, https://example.org/root") == []


@pytest.mark.requires("git")
def test_no_large_file_is_tracked() -> None:
    """Data and models stay outside; a page or a report picture is at most 1 MiB."""
    assert [path for path in tracked_files() if path.stat().st_size > 2**20] == []


def test_the_package_says_that_it_is_typed() -> None:
    assert resources.files("regard").joinpath("py.typed").is_file()
