"""What every test shares: threads, hypothesis's profile, and the list of what this machine could not run.

A test that needs more than Python and a CPU says so:

    @pytest.mark.requires("browser")
    def test_page(chromium): ...

Where the need is not met the test is skipped, and the run ends with a list of what was not run, why, and how
to get it. Where `REGARD_REQUIRE` names the need (`REGARD_REQUIRE=browser,gpu`), the test fails instead.

`regard` is not imported here: the jaxtyping hook (see pyproject.toml) has to come first.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import hypothesis
import jaxtyping
import pytest
import torch

ROOT = Path(__file__).parents[1]
# What takes minutes, in the order in which it begins; the other files fit beside.
SLOW = (
    "test_kernels",
    "test_compile",
    "test_browser_maps",
    "test_captioning",
    "test_detection",
    "test_pages",
    "test_browser",
    "test_openapi",
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass(frozen=True, kw_only=True)
class Requirement:
    present: Callable[[], bool]
    reason: str
    remedy: str


def find_browser() -> str | None:
    return next((path for path in map(shutil.which, BROWSERS) if path), None)


def has_bfloat16() -> bool:
    cpu = torch.cpu.get_capabilities()
    return any(cpu.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_compiler() -> bool:
    """A C++ compiler and what Python gives it, as torch.compile uses them."""
    names = (os.environ.get("CXX", "g++"), "clang++")
    return any(map(shutil.which, names)) and Path(sysconfig.get_path("include"), "Python.h").exists()


def has_kernels() -> bool:
    """Asked in a process of its own: `regard` is not imported here."""
    code = "import sys; from regard.ops.native import ABSENT; sys.exit(bool(ABSENT))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


REQUIREMENTS = {
    "native": Requirement(
        present=cache(has_kernels),
        reason="this installation has no native kernels",
        remedy="install g++ (Debian: apt-get install g++ python3-dev), then: make clean test",
    ),
    "browser": Requirement(
        present=lambda: find_browser() is not None,
        reason=f"none of {', '.join(BROWSERS)} is on the PATH",
        remedy="install Chromium (Debian: apt-get install chromium fonts-dejavu-core)",
    ),
    "linux": Requirement(
        present=lambda: os.access("/proc/self/clear_refs", os.W_OK),
        reason="the peak of a process's memory is read from Linux's /proc",
        remedy="run on Linux",
    ),
    "gpu": Requirement(
        present=torch.cuda.is_available,
        reason="torch sees no CUDA device",
        remedy="run on a machine with one, and with a CUDA build: make test TORCH=...",
    ),
    "bfloat16": Requirement(
        present=has_bfloat16,
        reason="this CPU has no bfloat16 instructions",
        remedy="run on a CPU with AVX512-BF16, AMX or Arm's BF16",
    ),
    "compiler": Requirement(
        present=has_compiler,
        reason="there is no C++ compiler, or there are no headers of Python",
        remedy="install both (Debian: apt-get install g++ python3-dev)",
    ),
    "cmake": Requirement(
        present=lambda: shutil.which("cmake") is not None,
        reason="there is no cmake on the PATH",
        remedy="install it (Debian: apt-get install cmake)",
    ),
    "qemu": Requirement(
        present=lambda: shutil.which("qemu-x86_64") is not None and platform.machine() == "x86_64",
        reason="there is no emulator of another x86-64 processor (qemu-x86_64)",
        remedy="install it (Debian: apt-get install qemu-user)",
    ),
    "git": Requirement(
        present=lambda: shutil.which("git") is not None and (ROOT / ".git").exists(),
        reason="this is no git checkout, or git is not installed",
        remedy="run the tests of a clone",
    ),
}


_NO_PARAMETERS = SimpleNamespace(params={})


class TorchGenerator:
    """Torch's generator, which hypothesis sets before every example: a failure fails again when repeated."""

    seed = staticmethod(torch.manual_seed)
    getstate = staticmethod(torch.get_rng_state)
    setstate = staticmethod(torch.set_rng_state)


TORCH_GENERATOR = TorchGenerator()  # hypothesis keeps a weak reference


def required_by_environment() -> set[str]:
    names = {name.strip() for name in os.environ.get("REGARD_REQUIRE", "").split(",")} - {""}
    if unknown := names - REQUIREMENTS.keys():
        raise pytest.UsageError(f"REGARD_REQUIRE names {sorted(unknown)}; known are {sorted(REQUIREMENTS)}")
    return names


def pytest_configure(config: pytest.Config) -> None:
    required_by_environment()
    # The tests' tensors are small: threads only wait for each other, above all beside other work on the cores.
    torch.set_num_threads(1)
    # Pictures are drawn the same on a machine with a display and on one without.
    os.environ["MPLBACKEND"] = "Agg"
    # No deadline: the first call of an operator pays for its set-up. Continuous integration draws the same
    # examples each time; elsewhere every run draws new ones.
    hypothesis.settings.register_profile("local", deadline=None, max_examples=50)
    hypothesis.settings.register_profile("ci", deadline=None, max_examples=50, derandomize=True)
    hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "local")
    hypothesis.register_random(TORCH_GENERATOR)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A test that is given the backend "native" requires it; files that take minutes come first, where several run."""
    items.sort(key=lambda item: SLOW.index(item.path.stem) if item.path.stem in SLOW else len(SLOW))
    for item in items:
        if isinstance(item, pytest.Function) and "native" in getattr(item, "callspec", _NO_PARAMETERS).params.values():
            item.add_marker(pytest.mark.requires("native"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in [name for mark in item.iter_markers("requires") for name in mark.args]:
        if name not in REQUIREMENTS:
            raise pytest.UsageError(f"requires({name!r}): no such requirement; known are {sorted(REQUIREMENTS)}")
        requirement = REQUIREMENTS[name]
        if requirement.present():
            continue
        if name in required_by_environment():
            pytest.fail(f"REGARD_REQUIRE names {name}, and {requirement.reason}: {requirement.remedy}", pytrace=False)
        item.user_properties.append(("missing", name))
        pytest.skip(f"{name}: {requirement.reason}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests measured (`record_property("note", text)`), then what could not be run here, and why."""
    kinds = ("passed", "failed", "skipped")
    reports = [report for kind in kinds for report in terminalreporter.getreports(kind) if report.when]  # not collected
    notes = [value for report in reports for name, value in report.user_properties if name == "note"]
    if notes:
        terminalreporter.section("measured")
        for note in dict.fromkeys(notes):
            terminalreporter.write_line(note)
    missing = Counter(value for report in reports for name, value in report.user_properties if name == "missing")
    terminalreporter.section("not run on this machine")
    if not missing:
        terminalreporter.write_line("nothing: every test found what it needs")
    for name, tests in sorted(missing.items()):
        requirement = REQUIREMENTS[name]
        terminalreporter.write_line(f"{name}: {tests} test{'s' if tests > 1 else ''}; {requirement.reason}")
        terminalreporter.write_line(f"    to run them: {requirement.remedy}")


@pytest.fixture(autouse=True)
def fixed_seed() -> None:
    """Every test starts from the same state of torch's generator, whatever ran before it."""
    torch.manual_seed(0)


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the check of every shape, which would answer before the library's own words, or slow many calls down."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium, for tests marked `requires("browser")`."""
    path = find_browser()
    assert path is not None, 'a test that asks for `chromium` is marked @pytest.mark.requires("browser")'
    return path


@pytest.fixture
def quiet_transformers() -> Iterator[None]:
    """Without the warnings of `transformers` about generation configs that it makes itself."""
    from transformers import logging

    level = logging.get_verbosity()
    logging.set_verbosity_error()
    yield
    logging.set_verbosity(level)
