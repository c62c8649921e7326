"""Importing costs little: measured and looked at in fresh processes, where nothing is loaded yet."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

# What is loaded by the parts that need it, when they need it.
HEAVY = {
    "babel",
    "jsonargparse",
    "lightning",
    "matplotlib",
    "nltk",
    "rich",
    "rouge_score",
    "sacrebleu",
    "sacremoses",
    "tokenizers",
    "transformers",
    "yaml",
}
BACKENDS = {f"regard.attention.backends.{name}" for name in ("reference", "sdpa", "streamed", "native")}
TRIES = 5


def run_fresh(code: str) -> str:
    """What a new Python prints when it runs `code`."""
    # Bytecode is kept, as it is on a user's machine: what is imported again is not compiled again.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_after_torch(code: str) -> set[str]:
    """The modules that `code` loads in a new Python that has imported torch."""
    before = "import json, sys, torch\nbefore = set(sys.modules)"
    after = "print(json.dumps(sorted(set(sys.modules) - before)))"
    return set(json.loads(run_fresh(f"{before}\n{code}\n{after}")))


def timed(action: Callable[[], object]) -> float:
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


def fastest(measure: Callable[[], float], enough: float) -> float:
    """The least of several measurements, as other work only adds to them; stops at one that will do."""
    best = float("inf")
    for _ in range(TRIES):
        best = min(best, measure())
        if best <= enough:
            break
    return best


def test_importing_loads_nothing_heavy() -> None:
    # Every public name is touched: a package that resolves its names lazily is held to the same.
    loaded = loaded_after_torch(
        "import regard, regard.nn, regard.models.transformer, regard.models.recurrent, regard.decoding\n"
        "for name in regard.__all__: getattr(regard, name)"
    )
    assert "regard.attention.api" in loaded, "the public names were not resolved"
    assert loaded & HEAVY == set()
    assert loaded & BACKENDS == set(), "a backend is imported by the first call that runs on it, not before"


def test_import_costs_at_most_100_ms_more_than_torch(record_property: Callable[[str, object], None]) -> None:
    # Processor time: what a busy machine makes its processes wait is not the import's.
    code = (
        "import time, torch\n"
        "start = time.process_time()\n"
        "import regard\n"
        "for name in regard.__all__: getattr(regard, name)\n"
        "print(time.process_time() - start)"
    )
    seconds = fastest(lambda: float(run_fresh(code)), enough=0.100)
    record_property("note", f"import regard, over import torch: {1000 * seconds:.0f} ms (at most 100)")
    assert seconds <= 0.100


def test_help_answers_within_a_second_without_torch(record_property: Callable[[str, object], None]) -> None:
    # What the console script does; the time includes the start of the interpreter.
    code = (
        "import sys\n"
        "from regard.cli.main import main\n"
        "sys.argv = ['regard', '--help']\n"
        "try:\n"
        "    status = main()\n"
        "except SystemExit as stop:\n"
        "    status = stop.code\n"
        "assert status in (None, 0), status\n"
        "assert 'torch' not in sys.modules, 'regard --help imported torch'\n"
    )
    answer = run_fresh(code)
    assert all(verb in answer for verb in ("train", "resume", "evaluate", "predict", "look", "doctor", "demo"))
    seconds = fastest(lambda: timed(lambda: run_fresh(code)), enough=1.0)
    record_property("note", f"regard --help: {seconds:.2f} s (at most 1)")
    assert seconds < 1.0
