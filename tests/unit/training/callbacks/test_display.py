"""What is shown: a bar on a terminal, plain lines elsewhere."""

import os
import re
import sys
from dataclasses import replace

import pytest

from regard.training import RunDirectory, TrainingOptions, fit
from regard.training.callbacks.display import clock

OPTIONS = TrainingOptions(epochs=2, warmup_steps=5, threads=1, device="cpu", precision="float32")


@pytest.mark.usefixtures("no_plots")
def test_plain_lines_and_the_same_in_the_log(toy, tmp_path, capsys):
    run = RunDirectory.create(tmp_path / "run", {})
    fit(toy.Toy(), OPTIONS, run)
    shown = capsys.readouterr().err.splitlines()
    assert [line[20:] for line in run.log_path.read_text().splitlines()] == shown
    assert re.match(r"training from step 0: 78 parameters, 7 batches an epoch, 2 epochs, float32 on cpu", shown[0])
    assert re.match(
        r"epoch 1/2 step 7 0:\d\d, loss 0\.\d+, validation score -0\.\d+, validation loss 0\.\d+ \*", shown[1]
    )
    assert re.match(r"final weights: (epoch \d|the average of 2 epochs): score -0\.\d+", shown[-1])


@pytest.mark.usefixtures("no_plots")
def test_a_bar_on_a_terminal(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("regard.training.callbacks.display._REFRESH", 0.0)
    monkeypatch.setitem(os.environ, "TERM", "xterm")
    monkeypatch.setitem(os.environ, "COLUMNS", "160")
    run = RunDirectory.create(tmp_path / "run", {})
    fit(toy.Toy(), replace(OPTIONS, max_minutes=97.0), run)
    shown = capsys.readouterr().err
    assert "epoch 2/2 step 14/14" in shown
    assert re.search(r"[\d,]+ tokens/s, 0:00 left, loss 0\.\d+, score -0\.\d\d", shown)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (7325, "2:02:05"), (-3, "0:00")]
)
def test_clock(seconds, text):
    assert clock(float(seconds)) == text
