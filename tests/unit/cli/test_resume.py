"""`regard resume`: a run that was stopped becomes the run that was not."""

import errno
import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import yaml

from regard.tasks.translation import Translation


@pytest.fixture(autouse=True)
def no_plots(monkeypatch):
    """Without writing pictures, which takes longer than the training."""
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)


def measured(run: Path) -> list[dict]:
    """All that was measured, but for the clock."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{key: row[key] for key in row if key not in ("seconds", "tokens_per_second")} for row in rows]


def stop_at(monkeypatch, step: int, action) -> None:
    """Does `action` in one step of the next training."""
    loss, steps = Translation.loss, []

    def counted(self, batch):
        steps.append(batch)
        if len(steps) == step:
            action()
        return loss(self, batch)

    monkeypatch.setattr(Translation, "loss", counted)


def test_stopped_and_resumed_is_the_whole_run(regard, data, model, tmp_path, tiny, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, 2, lambda: signal.raise_signal(signal.SIGTERM))
        done = regard("train", "translation", "--data", data, "--run", run, *tiny)
    assert done.status == 130
    assert done.err.splitlines()[-1] == f"stopped at step 2; resume with: regard resume {run}"
    assert not (run / "weights.safetensors").exists()
    assert "a run has it from the end of its first epoch on" in regard("predict", run, "a man").told("predict")

    done = regard("resume", run)
    assert done.status == 0, done.err
    assert "resuming at step 2" in done.err
    assert done.err.splitlines()[-1] == f"the run is in {run}; next: regard evaluate {run}"
    assert measured(run) == measured(model)
    assert (run / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()


def test_a_time_limit_ends_a_run_and_it_can_be_lifted(regard, data, model, tmp_path, tiny):
    run = tmp_path / "run"
    done = regard("train", "translation", "--data", data, "--run", run, *tiny, "--training.max_minutes=1e-9")
    assert done.status == 0, done.err
    assert [row["kind"] for row in measured(run)] == ["step", "epoch", "final"]
    assert (run / "weights.safetensors").exists(), "the little that was learned can be used"
    config = yaml.safe_load((run / "config.yaml").read_text())
    config["training"]["max_minutes"] = None
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    assert regard("resume", run).status == 0
    # The epoch that was cut short was a candidate for the best; the steps know nothing of it.
    steps, expected = ([row for row in measured(path) if row["kind"] == "step"] for path in (run, model))
    assert steps == expected


def test_a_finished_run_stays_what_it_is(regard, copied, model):
    done = regard("resume", copied)
    assert done.status == 0, done.err
    assert measured(copied) == measured(model)
    assert (copied / "weights.safetensors").read_bytes() == (model / "weights.safetensors").read_bytes()


def test_a_full_disk_is_one_clear_error_and_the_run_goes_on_later(regard, data, model, tmp_path, tiny, monkeypatch):
    run, replace = tmp_path / "run", os.replace
    writes = []

    def full(source, target):
        writes.extend([target] if Path(target).name == "resume.ckpt" else [])
        if len(writes) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("regard.training.files.os.replace", full)
        done = regard("train", "translation", "--data", data, "--run", run, *tiny)
    assert done.status == 1
    assert "there is no room on the disk for resume.ckpt" in done.err.splitlines()[-1]
    assert f"continue with: regard resume {run}" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err
    assert regard("resume", run).status == 0
    assert measured(run) == measured(model)


def test_other_data_than_the_runs_own(regard, data, copied, tmp_path):
    other = Path(shutil.copytree(data, tmp_path / "other"))
    for ending in ("en", "de"):
        path = other / f"train.{ending}"
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:7]))
    config = yaml.safe_load((copied / "config.yaml").read_text())
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, "data": str(other)}))
    before = measured(copied)
    told = regard("resume", copied).told("resume")
    assert "batches an epoch, and the data now make" in told
    assert measured(copied) == before


def test_data_that_are_gone(regard, copied):
    config = yaml.safe_load((copied / "config.yaml").read_text())
    (copied / "config.yaml").write_text(yaml.safe_dump({**config, "data": "gone"}))
    assert regard("resume", copied).told("resume") == "gone is not a folder"


def test_a_run_without_a_checkpoint(regard, copied):
    (copied / "resume.ckpt").unlink()
    assert "was stopped before its first checkpoint; start it anew" in regard("resume", copied).told("resume")


@pytest.mark.parametrize("size", [0, 97, 5003])
def test_a_damaged_checkpoint(regard, copied, size):
    checkpoint = copied / "resume.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:size])
    assert "resume.ckpt is broken" in regard("resume", copied).told("resume")
