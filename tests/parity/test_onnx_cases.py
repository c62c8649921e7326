"""ONNX's conformance cases of its operator `Attention` hold for `attend`."""

import subprocess
import sys
from collections.abc import Callable

import pytest
import torch
from tests.parity import onnx_attention
from tests.parity.onnx_attention import Case

# Cases that the mechanism does not cover, and why: none.
NOT_COVERED: dict[str, str] = {}
AT_LEAST = 93  # of onnx 1.23; a later one may have more


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict]:
    path = tmp_path_factory.mktemp("onnx") / "cases.pt"
    done = subprocess.run(
        [sys.executable, onnx_attention.__file__, str(path)], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return torch.load(path, weights_only=True)


@pytest.fixture(scope="session")
def cases(collected: dict[str, dict]) -> dict[str, Case]:
    """Those that are one node, and are not listed."""
    return {name: Case(**case) for name, case in collected.items() if case and name not in NOT_COVERED}


def test_every_case_is_run_or_listed(collected: dict[str, dict], cases: dict[str, Case]) -> None:
    assert not NOT_COVERED.keys() - collected.keys(), "listed cases that are no more"
    whole = [name for name, case in collected.items() if case]
    assert len(whole) >= AT_LEAST
    assert cases.keys() | NOT_COVERED.keys() == set(whole)
    # All others are the same cases once more, written out in other operators.
    assert {name for name, case in collected.items() if not case} == {f"{name}_expanded" for name in whole}


@pytest.mark.parametrize("backend", ["auto", "streamed", "reference"])
def test_cases(backend: str, cases: dict[str, Case], record_property: Callable[[str, object], None]) -> None:
    wrong = {}
    for name, case in cases.items():
        outputs = case.run(backend)
        for output, expected in case.outputs.items():
            # What ONNX expects is itself computed in the inputs' dtype, and rounded at every step.
            rounding = 4 * torch.finfo(expected.dtype).eps
            try:
                torch.testing.assert_close(
                    outputs[output], expected, rtol=max(case.rtol, rounding), atol=max(case.atol, rounding)
                )
            except AssertionError as error:
                wrong[f"{name}: {output}"] = str(error)
    assert not wrong, "\n".join(f"{name}: {error}" for name, error in wrong.items())
    record_property("note", f"conformance cases of ONNX's Attention that hold on {backend}: {len(cases)}")
