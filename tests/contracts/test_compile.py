"""The mechanism compiles to one graph, and is exported; compiled.py holds these tests."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SCRIPT = Path(__file__).with_name("compiled.py")
ROOT = Path(__file__).parents[2]


def test_compiling_and_exporting(record_property: Callable[[str, object], None]) -> None:
    """In a process without the run-time checks of types, which torch.compile cannot trace."""
    options = ["--override-ini=addopts=--import-mode=importlib", "-p", "no:cacheprovider", "-p", "no:logging"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(SCRIPT)],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if not name.startswith("PYTEST")},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [passed] = re.findall(r"(\d+) passed", done.stdout)
    record_property("note", f"tests of compiled and exported calls, in a process of their own: {passed}")
    for name in re.findall(r"^(\w+): \d+ tests?;", done.stdout, re.MULTILINE):
        record_property("missing", name)
