"""Files stay small enough to read at one sitting: 500 lines at the most, about 150 in the middle."""

from collections.abc import Callable
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[2]
FOLDERS = ("src", "csrc", "tests", "benchmarks", "examples")
SUFFIXES = {".py", ".cpp", ".h", ".css", ".html", ".js"}
HARD_LIMIT = 500
MIDDLE = 200
INIT_LIMIT = 60  # re-exports and a docstring; a package's code stands in files with names
PUBLIC_NAMES_LIMIT = 150  # src/regard/__init__.py lists every public name


def count_lines(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def source_files() -> list[Path]:
    files = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*"))]
    return [path for path in files if path.suffix in SUFFIXES]


def test_no_file_is_longer_than_500_lines(record_property: Callable[[str, object], None]) -> None:
    lines = {path.relative_to(ROOT): count_lines(path) for path in source_files()}
    assert len(lines) > 20, "the source was not found"
    assert {path: n for path, n in lines.items() if n > HARD_LIMIT} == {}
    code = [n for path, n in lines.items() if path.parts[0] == "src" and path.name != "__init__.py"]
    record_property("note", f"source files: {len(code)}, median {median(code):.0f} lines, longest {max(code)}")
    assert median(code) <= MIDDLE


def test_init_files_only_re_export() -> None:
    package = ROOT / "src" / "regard"
    limits = dict.fromkeys(package.rglob("*/__init__.py"), INIT_LIMIT)
    limits |= dict.fromkeys((package / "__init__.py", package / "attention" / "__init__.py"), PUBLIC_NAMES_LIMIT)
    assert {path: n for path, limit in limits.items() if (n := count_lines(path)) > limit} == {}
