"""Laws of `fit`: a run that was stopped in any way and resumed is the run that was not."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regard.training import RunDirectory, TrainingOptions, fit

pytestmark = pytest.mark.usefixtures("no_plots")

# A checkpoint after every batch, and every loss in the metrics.
OPTIONS = TrainingOptions(
    epochs=3,
    warmup_steps=5,
    weight_decay=0.1,
    log_every=1,
    checkpoint_minutes=1e-9,
    threads=1,
    device="cpu",
    precision="float32",
)


class Kill(Exception):
    """Stands for what ends a process without asking it."""


def new_run(path: Path, name: str) -> RunDirectory:
    return RunDirectory.create(path / name, {"task": "toy"})


def measured(run: RunDirectory) -> list[dict]:
    """All that was measured, but for the clock."""
    clock = {"seconds", "tokens_per_second"}
    return [{key: row[key] for key in row if key not in clock} for row in run.read_metrics()]


def assert_same(run: RunDirectory, whole: RunDirectory) -> None:
    assert measured(run) == measured(whole)
    assert run.weights_path.read_bytes() == whole.weights_path.read_bytes()


@pytest.fixture(scope="module", autouse=True)
def killed(tmp_path_factory) -> Iterator[tuple[subprocess.Popen, RunDirectory]]:
    """A process that kills itself when half of its twelfth checkpoint is written, beside the other tests."""
    run = new_run(tmp_path_factory.mktemp("killed"), "run")
    program = f"""
import os, signal, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from toy import Toy
from regard.training import RunDirectory, TrainingOptions, files, fit
assert not {{"lightning", "matplotlib", "rich"}} & set(sys.modules), "imported before anything is trained"
flush, saved = os.fsync, []
def fsync(descriptor):
    path = os.readlink(f"/proc/self/fd/{{descriptor}}")
    saved.extend([path] if path.endswith(".resume.ckpt.partial") else [])
    if len(saved) == 12:
        os.truncate(path, 1000)
        os.kill(os.getpid(), signal.SIGKILL)
    flush(descriptor)
files.os.fsync = fsync
fit(Toy(), {OPTIONS!r}, RunDirectory.open({str(run.path)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True)
    yield process, run
    process.kill()
    process.communicate()


@pytest.fixture(scope="module")
def whole(toy, tmp_path_factory) -> RunDirectory:
    """The run that nothing stopped."""
    run = new_run(tmp_path_factory.mktemp("whole"), "run")
    fit(toy.Toy(), OPTIONS, run)
    return run


def at(step: int, action):
    """Does `action` in one step."""
    return lambda n: action() if n == step else None


def kill() -> None:
    raise Kill


def test_losses_are_written_exactly_and_training_learns(whole):
    steps = [row for row in whole.read_metrics() if row["kind"] == "step"]
    assert [row["step"] for row in steps] == list(range(1, 22))
    assert all(row["loss"] == torch.tensor(row["loss"]).item() for row in steps)  # float32, not a mean of them
    epochs = [row for row in whole.read_metrics() if row["kind"] == "epoch"]
    assert [row["epoch"] for row in epochs] == [1, 2, 3]
    assert epochs[-1]["metrics"]["loss"] < epochs[0]["metrics"]["loss"]


def test_the_first_step_is_the_tasks_own(toy, whole):
    torch.manual_seed(OPTIONS.seed)
    task = toy.Toy()
    torch.manual_seed(OPTIONS.seed)
    assert whole.read_metrics()[0]["loss"] == task.loss(next(iter(task.batches))).item()


@pytest.mark.parametrize("step", [1, 7, 8, 11, 21])
def test_killed_at_any_step_and_resumed_is_the_same_run(toy, tmp_path, whole, step):
    run = new_run(tmp_path, "run")
    with pytest.raises(Kill):
        fit(toy.Toy(at(step, kill)), OPTIONS, run)
    torch.rand(step)  # another process has drawn other numbers before
    fit(toy.Toy(), OPTIONS, run, resume=True)
    assert_same(run, whole)


def test_killed_and_resumed_goes_on_with_its_moving_average(toy, tmp_path, whole):
    options = replace(OPTIONS, ema_decay=0.9)
    averaged, run = new_run(tmp_path, "averaged"), new_run(tmp_path, "run")
    fit(toy.Toy(), options, averaged)
    with pytest.raises(Kill):
        fit(toy.Toy(at(10, kill)), options, run)
    fit(toy.Toy(), options, run, resume=True)
    assert_same(run, averaged)
    # Training itself does not notice: the same losses, other weights at the end of an epoch.
    losses = [[row["loss"] for row in measured(one) if row["kind"] == "step"] for one in (averaged, whole)]
    assert losses[0] == losses[1]
    assert averaged.epoch_path(3).read_bytes() != whole.epoch_path(3).read_bytes()
    validations = [[row["metrics"] for row in measured(one) if row["kind"] == "epoch"] for one in (averaged, whole)]
    assert all(first != second for first, second in zip(*validations, strict=True))


def test_killed_again_and_again_with_lines_of_several_steps(toy, tmp_path):
    options = replace(OPTIONS, log_every=3, schedule="cosine")
    whole, run = new_run(tmp_path, "whole"), new_run(tmp_path, "run")
    fit(toy.Toy(), options, whole)
    for number, step in enumerate((4, 5, 6)):
        with pytest.raises(Kill):
            fit(toy.Toy(at(step, kill)), options, run, resume=number > 0)
    fit(toy.Toy(), options, run, resume=True)
    assert_same(run, whole)
    assert [row["step"] for row in measured(run) if row["kind"] == "step"] == [3, 6, 7, 9, 12, 14, 15, 18, 21]


def test_sigkill_in_the_middle_of_a_checkpoint(toy, killed, whole):
    process, run = killed
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, errors
    assert (run.path / ".resume.ckpt.partial").exists()
    fit(toy.Toy(), OPTIONS, run, resume=True)
    assert_same(run, whole)
    assert not (run.path / ".resume.ckpt.partial").exists()


@pytest.mark.parametrize("name", ["resume.ckpt", "weights.safetensors", "metrics.jsonl"])
def test_full_disk_is_one_clear_error_and_loses_nothing(toy, tmp_path, whole, monkeypatch, name):
    run = new_run(tmp_path, "run")
    replace_file, append = os.replace, RunDirectory._append

    def full(source, target):
        if Path(target).name == name and len(run.read_metrics()) > 9:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
        replace_file(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("regard.training.files.os.replace", full)
        if name == "metrics.jsonl":
            patch.setattr(RunDirectory, "append_metrics", lambda self, row: full_append(self, row, append))
        with pytest.raises(OSError, match=rf"no room on the disk for {name}.*regard resume") as caught:
            fit(toy.Toy(), OPTIONS, run)
    assert caught.value.errno == errno.ENOSPC
    fit(toy.Toy(), OPTIONS, run, resume=True)
    assert_same(run, whole)


def full_append(run: RunDirectory, row: dict, append) -> None:
    """Half a line, and then the disk is full."""
    if row["step"] < 11:
        append(run.metrics_path, json.dumps(row))
        return
    from regard.training.files import clear_disk_errors

    with clear_disk_errors(run.metrics_path), open(run.metrics_path, "a") as file:
        file.write(json.dumps(row)[:9])
        file.flush()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("number", "step"), [(signal.SIGINT, 10), (signal.SIGTERM, 10), (signal.SIGINT, 14)])
def test_a_signal_saves_a_checkpoint_and_says_how_to_go_on(toy, tmp_path, whole, capsys, number, step):
    run = new_run(tmp_path, "run")
    options = replace(OPTIONS, checkpoint_minutes=60.0)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt, match=f"stopped at step {step}"):
        fit(toy.Toy(at(step, lambda: signal.raise_signal(number))), options, run)
    assert f"resume with: regard resume {run.path}" in capsys.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    task = toy.Toy()
    fit(task, options, run, resume=True)
    assert task.steps == 21 - step
    assert_same(run, whole)


def test_a_second_ctrl_c_stops_at_once_and_goes_back_to_the_last_checkpoint(toy, tmp_path, whole):
    run = new_run(tmp_path, "run")

    def twice() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt, match="last checkpoint with: regard resume"):
        fit(toy.Toy(at(9, twice)), replace(OPTIONS, checkpoint_minutes=60.0), run)
    fit(toy.Toy(), OPTIONS, run, resume=True)
    assert_same(run, whole)


def test_time_limit_stops_in_the_epoch_keeps_its_weights_and_can_be_lifted(toy, tmp_path, whole):
    run = new_run(tmp_path, "run")
    limited = replace(OPTIONS, max_minutes=1e-9)
    metrics = fit(toy.Toy(), limited, run)
    rows = run.read_metrics()
    assert [(row["kind"], row["step"]) for row in rows] == [("step", 1), ("epoch", 1), ("final", 1)]
    assert not rows[1]["complete"]
    assert rows[1]["metrics"] == metrics
    model = toy.Toy().model
    run.load_weights(model)

    task = toy.Toy()
    assert fit(task, limited, run, resume=True) == metrics  # no time is left: nothing is trained
    assert task.steps == 0

    fit(toy.Toy(), OPTIONS, run, resume=True)
    assert_same(run, whole)


def test_resuming_a_finished_run_trains_nothing(toy, tmp_path, whole):
    run = new_run(tmp_path, "run")
    metrics = fit(toy.Toy(), OPTIONS, run)
    task = toy.Toy()
    assert fit(task, OPTIONS, run, resume=True) == metrics
    assert task.steps == 0
    assert_same(run, whole)


def test_the_better_of_best_epoch_and_average_is_kept(toy, tmp_path):
    for scores, chosen in (([1, 3, 2, 3, 4], "average"), ([1, 3, 2, 3, 3], "epoch")):
        run = new_run(tmp_path, chosen)
        task = toy.Toy(scores=scores)  # three epochs, the best of them, the average
        metrics = fit(task, replace(OPTIONS, average=2), run)
        assert metrics["score"] == max(scores)
        assert [path.name for path in run.epoch_paths()] == ["epoch-002.safetensors", "epoch-003.safetensors"]
        second, third = (load_file(path) for path in run.epoch_paths())
        final = run.read_metrics()[-1]
        assert (final["kind"], final["weights"]) == ("final", chosen)
        assert final["epochs"] == ([2, 3] if chosen == "average" else [2])
        for name, tensor in load_file(run.weights_path).items():
            expected = (second[name].double() + third[name].double()).div(2).float()
            assert torch.equal(tensor, expected if chosen == "average" else second[name])
            assert torch.equal(tensor, task.model.state_dict()[name])


def test_patience_ends_training_and_a_resumed_run_stays_ended(toy, tmp_path):
    run = new_run(tmp_path, "run")
    options = replace(OPTIONS, epochs=97, patience=2, average=0)
    fit(toy.Toy(scores=[1, 3, float("nan"), 2, 3]), options, run)
    assert [row["epoch"] for row in run.read_metrics() if row["kind"] == "epoch"] == [1, 2, 3, 4]
    assert [row["best"] for row in run.read_metrics() if row["kind"] == "epoch"] == [True, True, False, False]
    task = toy.Toy(scores=[3])
    fit(task, options, run, resume=True)
    assert task.steps == 0


def test_a_metric_that_is_no_number_is_worse_than_any(toy, tmp_path):
    run = new_run(tmp_path, "run")
    fit(toy.Toy(scores=[float("nan"), -5, -7, -5]), replace(OPTIONS, average=0), run)
    assert [row["best"] for row in run.read_metrics() if row["kind"] == "epoch"] == [True, True, False]


def test_validation_every_second_epoch_and_the_last(toy, tmp_path):
    run = new_run(tmp_path, "run")
    fit(toy.Toy(), replace(OPTIONS, validate_every=2), run)
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert [bool(row["metrics"]) for row in epochs] == [False, True, True]


def test_a_loss_that_is_no_number_stops_before_it_is_saved(toy, tmp_path):
    run = new_run(tmp_path, "run")
    task = toy.Toy()
    task.before_step = at(10, lambda: task.model[0].weight.data.fill_(float("inf")))
    with pytest.raises(ValueError, match=r"loss became (nan|inf).*--training\.learning_rate 0\.0015"):
        fit(task, replace(OPTIONS, log_every=50), run)
    task = toy.Toy()
    fit(task, OPTIONS, run, resume=True)
    assert task.steps == 21 - 9


def test_other_data_or_another_model_cannot_resume(toy, tmp_path):
    run = new_run(tmp_path, "run")
    fit(toy.Toy(), replace(OPTIONS, epochs=1), run)
    task = toy.Toy()
    task.model[3] = torch.nn.Linear(11, 2)
    with pytest.raises(ValueError, match=r"resume.ckpt does not fit the model: 3.weight is \(1, 11\)"):
        fit(task, OPTIONS, run, resume=True)
    before = run.read_metrics()
    task = toy.Toy()
    task.batches = [*task.batches][:5]
    with pytest.raises(ValueError, match="started with 7 batches an epoch, and the data now make 5"):
        fit(task, OPTIONS, run, resume=True)
    assert run.read_metrics() == before


def test_nothing_to_train_on(toy, tmp_path):
    task = toy.Toy()
    task.batches = []
    with pytest.raises(ValueError, match="no training batches"):
        fit(task, OPTIONS, new_run(tmp_path, "run"))


def test_bfloat16_computes_the_step_in_bfloat16(toy, tmp_path):
    run = new_run(tmp_path, "run")
    task, dtypes = toy.Toy(), []
    task.model[0].register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    fit(task, replace(OPTIONS, precision="bfloat16", epochs=1), run)
    assert set(dtypes[:7]) == {torch.bfloat16}
    assert set(dtypes[7:]) == {torch.float32}  # validation
    assert {tensor.dtype for tensor in load_file(run.weights_path).values()} == {torch.float32}
