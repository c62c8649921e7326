"""Attention over ranks is that of one process: `cases.py`, on two and on four processes that talk by gloo."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("cases.py")
NAMES = re.findall(r"^@case\ndef (\w+)", SCRIPT.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.fixture(scope="module", params=[2, 4])
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What every rank of a group says of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), str(request.param), str(folder)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(request.param)
    ]
    try:
        outputs = [rank.communicate(timeout=300)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0] * request.param, "\n".join(outputs)
    found = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(request.param)]
    return {name: [one[name] for one in found] for name in found[0]}


def test_every_case_ran(told: dict[str, list[str]]) -> None:
    assert list(told) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_on_every_rank(told: dict[str, list[str]], name: str) -> None:
    assert told[name] == [""] * len(told[name])
