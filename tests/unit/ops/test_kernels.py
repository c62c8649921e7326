"""csrc/tests: the kernels without Python, under sanitizers, and on an emulated processor without AVX-512."""

import shutil
import subprocess
from pathlib import Path

import pytest

from regard.ops.native import instruction_sets

ROOT = Path(__file__).parents[3]


def sets() -> list[str]:
    """Those that this processor runs, the widest first: the others would be built for nothing."""
    return [*(name for name, runs in instruction_sets().items() if runs), "emulated"]


def build(folder: Path, *options: str) -> Path:
    """The test program, made by CMake."""
    make = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DREGARD_MODULE=OFF", "-DREGARD_TESTS=ON", *options]
    for command in (make, ["cmake", "--build", str(folder), "--parallel", "2"]):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stdout + done.stderr, done.stdout + done.stderr
    return folder / "kernels_test"


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("kernels"), f"-DREGARD_ISAS={';'.join(sets())}")


@pytest.mark.requires("compiler", "cmake", "native")
def test_random_calls(program: Path) -> None:
    done = subprocess.run([str(program), "100", "7"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert done.stdout.startswith("100 cases from seed 7 on ")


@pytest.mark.requires("compiler", "cmake", "native", "qemu")
def test_a_processor_without_avx512_runs_what_was_built_here(program: Path) -> None:
    emulator = shutil.which("qemu-x86_64")
    assert emulator is not None
    for processor, sets in (("Haswell", "avx2 plain emulated"), ("Nehalem", "plain emulated")):
        command = [emulator, "-cpu", processor, str(program), "1", "7"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert done.stdout == f"1 cases from seed 7 on {sets}\n", done.stderr


@pytest.mark.requires("compiler", "cmake", "native")
def test_sanitizers_find_nothing(tmp_path: Path) -> None:
    """AddressSanitizer and UndefinedBehaviorSanitizer, on random shapes: the processor's own set, and the widest."""
    program = build(tmp_path, "-DREGARD_SANITIZE=ON", f"-DREGARD_ISAS={sets()[0]};emulated")
    done = subprocess.run([str(program), "8", "11"], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
