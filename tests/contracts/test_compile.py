"""The mechanism compiles to one graph, and is exported; compiled.py holds these tests."""

from collections.abc import Callable
from pathlib import Path

from tests.contracts.apart import run_apart


def test_compiling_and_exporting(record_property: Callable[[str, object], None]) -> None:
    run_apart(Path(__file__).with_name("compiled.py"), "compiled and exported calls", record_property)
