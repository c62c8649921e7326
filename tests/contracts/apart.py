"""Tests that run in a process of their own, without the run-time checks of types: torch's tracers cannot trace them."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_apart(script: Path, what: str, record_property: Callable[[str, object], None]) -> None:
    """Run a file of tests, and say in this run's list how many passed, and what was missing for others."""
    options = ["--override-ini=addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:logging"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(script)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [passed] = re.findall(r"(\d+) passed", done.stdout)
    record_property("note", f"tests of {what}, in a process of their own: {passed}")
    for name in re.findall(r"^(\w+): \d+ tests?;", done.stdout, re.MULTILINE):
        record_property("missing", name)
