"""`regard doctor`: what is here, and why something is not."""

import platform

import pytest
import torch

from regard import __version__
from regard.attention.capabilities import TABLE
from regard.cli import doctor


def test_it_names_the_machine_the_versions_and_the_backends(regard):
    done = regard("doctor")
    assert (done.status, done.err) == (0, "")
    for text in (__version__, platform.python_version(), torch.__version__, "lightning", *TABLE):
        assert text in done.out
    lines = {line[:14].strip(): line[15:] for line in done.out.splitlines() if line[:14].strip()}
    assert lines["training"] in {f"{kind} on {place}" for kind in ("float32", "bfloat16") for place in ("cpu", "cuda")}
    assert "| grouped heads | yes | yes |" in done.out


def test_what_is_absent_is_named_with_its_remedy(regard, monkeypatch):
    found = doctor.find_spec
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name == "rich" else found(name))
    assert "absent: rich; for them: pip install 'regard[tasks]'" in regard("doctor").out


def test_no_gpu_and_why(regard, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    reason = "torch was built without CUDA" if torch.version.cuda is None else "torch finds no CUDA device"
    assert f"none ({reason})" in regard("doctor").out


def test_it_takes_no_arguments(regard):
    with pytest.raises(SystemExit):
        regard("doctor", "now")
