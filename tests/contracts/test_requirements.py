"""Nothing is skipped in silence: what a machine lacks is listed at the end, or fails where it is required."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

CONFTEST = Path(__file__).parents[1] / "conftest.py"
NEEDS_GIT = """
import pytest

@pytest.mark.requires("git")
def test_history():
    pass

def test_anywhere():
    pass
"""


def run_where_git_is_missing(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Two tests, one of which needs a git checkout, run by this suite's conftest outside of one."""
    (folder / "tests").mkdir()
    shutil.copy(CONFTEST, folder / "tests")
    (folder / "tests" / "test_planted.py").write_text(NEEDS_GIT)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = requires(*names): needs\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "REGARD"))}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "tests"],
        cwd=folder,
        env={**environment, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_what_is_missing_is_skipped_and_listed(tmp_path: Path) -> None:
    done = run_where_git_is_missing(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "git: 1 test; this is no git checkout, or git is not installed" in done.stdout
    assert "to run them: run the tests of a clone" in done.stdout
    assert "1 passed, 1 skipped" in done.stdout


def test_what_is_required_fails(tmp_path: Path) -> None:
    done = run_where_git_is_missing(tmp_path, REGARD_REQUIRE="git")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "REGARD_REQUIRE names git, and this is no git checkout" in done.stdout
    assert "1 passed, 1 error" in done.stdout
