"""`regard` itself: verbs, help, exit statuses, and errors of one line."""

import os
import subprocess
import sys

import pytest

from regard import __version__
from regard.cli.main import VERBS, main

COMMAND = (sys.executable, "-m", "regard")


@pytest.mark.parametrize("words", [[], ["-h"], ["--help"]])
def test_help_names_every_verb(regard, words):
    done = regard(*words)
    assert done.status == 0
    assert done.out.startswith("usage: regard VERB ...")
    for verb, text in VERBS.items():
        assert f"  {verb:<10} {text}\n" in done.out


def test_the_version(regard):
    assert regard("--version").out == f"regard {__version__}\n"


@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        ("trian", "did you mean: regard train?"),
        ("predicts", "did you mean: regard predict?"),
        ("xyz", "the verbs are: "),
    ],
)
def test_an_unknown_verb_names_the_nearest(regard, verb, hint):
    done = regard(verb, "--data", "x")
    assert (done.status, done.out) == (2, "")
    assert done.err.startswith(f"regard: there is no verb {verb!r}; {hint}")
    assert done.err.count("\n") == 1


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_a_help_of_its_own(verb, capsys):
    try:
        status = main([verb, "--help"])
    except SystemExit as stop:  # argparse leaves by it
        status = stop.code
    assert status == 0
    assert f"regard {verb}" in capsys.readouterr().out


def fail(monkeypatch, error: BaseException) -> None:
    def run(arguments: list[str]) -> int:
        raise error

    monkeypatch.setattr("regard.cli.doctor.run", run)


def test_an_error_is_one_line_however_it_was_written(regard, monkeypatch):
    fail(monkeypatch, ValueError("one\ntwo"))
    assert regard("doctor").told("doctor") == "one two"


@pytest.mark.parametrize(("name", "extra"), [("lightning", "tasks"), ("soundfile", "hub")])
def test_a_package_that_is_missing_is_named_with_its_remedy(regard, monkeypatch, name, extra):
    fail(monkeypatch, ModuleNotFoundError(f"No module named '{name}'", name=name))
    assert (
        regard("doctor").told("doctor") == f"this needs {name}, which is not installed: pip install 'regard[{extra}]'"
    )


def test_ctrl_c_has_its_usual_status(regard, monkeypatch):
    fail(monkeypatch, KeyboardInterrupt())
    done = regard("doctor")
    assert (done.status, done.err) == (130, "")


def test_a_traceback_for_those_who_want_it(monkeypatch):
    fail(monkeypatch, ValueError("mine"))
    monkeypatch.setenv("REGARD_TRACEBACK", "1")
    with pytest.raises(ValueError, match="mine"):
        main(["doctor"])


def test_a_mistake_of_the_program_is_not_hidden(monkeypatch):
    fail(monkeypatch, KeyError("not the user's"))
    with pytest.raises(KeyError):
        main(["doctor"])


def test_as_a_process():
    done = subprocess.run([*COMMAND, "trian"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "regard: there is no verb 'trian'; did you mean: regard train?\n"


def test_a_reader_that_is_gone_is_no_error():
    """`regard doctor | head -0`: nobody reads the little that stays in the buffer until the end."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb") as closed:
        done = subprocess.run([*COMMAND, "doctor"], stdout=closed, stderr=subprocess.PIPE, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
