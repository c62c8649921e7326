import json
import re

import pytest
import yaml
from torch import nn

from regard.training import RunDirectory

CONFIG = {"data": "somewhere", "model": {"dim": 13, "norm": "post"}, "none": None, "text": "é: no"}


def test_what_is_created_is_opened(tmp_path):
    run = RunDirectory.create(tmp_path / "runs" / "first", CONFIG)
    assert RunDirectory.open(run.path).read_config() == CONFIG
    text = yaml.safe_load(run.config_path.read_text(encoding="utf-8"))
    assert list(text)[:2] == ["regard", "version"]
    assert text["version"] == 1


def test_an_empty_folder_may_be_given_and_another_not(tmp_path):
    (tmp_path / "empty").mkdir()
    run = RunDirectory.create(tmp_path / "empty", CONFIG)
    before = run.config_path.read_bytes()
    with pytest.raises(ValueError, match=re.escape(f"continue it with: regard resume {run.path}): choose another")):
        RunDirectory.create(run.path, {})
    assert run.config_path.read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(ValueError, match=r"is not empty \(it is no run\): choose another"):
        RunDirectory.create(tmp_path / "full", {})
    with pytest.raises(ValueError, match="is a file, and a run is a folder"):
        RunDirectory.create(run.config_path, {})


def test_what_is_no_run(tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        RunDirectory.open(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"is not a run directory: it has no config\.yaml"):
        RunDirectory.open(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("regard: 9.1\nversion: 2\n", r"has `version: 2` \(written by regard 9.1\); .* reads `version: 1`"),
        ("a: 1", r"has `version: None` \(written by regard an unknown version\)"),
        ("- a list", "is not a mapping of options"),
        ("a: [", "is not plain YAML"),
        (
            "version: 1\na: !!python/object/apply:os.mkdir [executed]",
            "is not plain YAML: could not determine",
        ),
    ],
)
def test_a_config_of_another_version_or_a_stranger(tmp_path, monkeypatch, text, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match=message):
        RunDirectory.open(tmp_path)
    assert not (tmp_path / "executed").exists()


def test_metrics_survive_a_line_that_was_cut_off(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {})
    assert run.read_metrics() == []
    rows = [{"kind": "step", "step": step, "loss": step / 7} for step in range(5)]
    for row in rows:
        run.append_metrics(row)
    with open(run.metrics_path, "a") as file:
        file.write(json.dumps(rows[0])[:11])
    assert run.read_metrics() == rows
    run.forget_metrics_after(2)
    run.append_metrics(rows[3])
    assert run.read_metrics() == rows[:4]


def test_forgetting_drops_what_a_resumed_run_measures_again(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {})
    rows = [
        {"kind": "epoch", "step": 5, "complete": True},
        {"kind": "epoch", "step": 7, "complete": False},
        {"kind": "final", "step": 7},
        {"kind": "step", "step": 8},
    ]
    for row in rows:
        run.append_metrics(row)
    run.forget_metrics_after(7)
    assert run.read_metrics() == rows[:1]


def test_epochs_are_in_order_also_beyond_999(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {})
    (run.path / "epochs").mkdir()
    for epoch in (1000, 2, 999):
        run.epoch_path(epoch).touch()
    assert run.epoch_paths() == [run.epoch_path(epoch) for epoch in (2, 999, 1000)]


def test_weights_and_log(tmp_path):
    run = RunDirectory.create(tmp_path / "run", {})
    first, second = nn.Linear(3, 5), nn.Linear(3, 5)
    run.save_weights(first)
    run.load_weights(second)
    assert second.weight.equal(first.weight)
    run.log("one line")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d one line\n", run.log_path.read_text())
