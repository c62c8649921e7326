"""`regard predict --input`: every item out once, whatever stops or dies."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from regard.tasks.sentiment import Recipe, train
from regard.tasks.sentiment.recipe import Model
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reviews")
    for split in ("train", "val"):
        (folder / f"{split}.txt").write_text("good a fine film\nbad a dull film\n" * 8)
    recipe = Recipe(
        data=str(folder),
        sub_words=SubWords(vocabulary=60),
        model=Model(dim=16, layers=1, heads=2, feed_forward=32),
        training=TrainingOptions(epochs=2, average=0, device="cpu", precision="float32"),
    )
    return train(recipe, folder / "run").path


def written(path: Path, count: int) -> Path:
    path.write_text("".join(json.dumps({"text": f"a film of {number}"}) + "\n" for number in range(count)))
    return path


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("part-*.jsonl")) for line in path.read_text().splitlines()]


def test_parts_go_on_where_they_were_stopped(regard, classifier, tmp_path):
    given, out = written(tmp_path / "in.jsonl", 50), tmp_path / "out"
    words = ("predict", classifier, "--input", given, "-o", out, "--shard", "8")
    done = regard(*words)
    assert done.status == 0, done.err
    assert done.err.splitlines()[-1] == f"50 items in 7 parts of {out}"
    whole = records(out)
    assert [record["id"] for record in whole] == [f"{given}:{number + 1}" for number in range(50)]
    single = regard("predict", classifier, "a film of 17", "--json").out
    assert whole[17]["outputs"] == json.loads(single)["outputs"]
    (out / "part-000003.jsonl").unlink()
    before = {path: path.stat().st_mtime_ns for path in out.glob("part-*")}
    done = regard(*words)
    assert done.err.splitlines() == ["6 of 7 parts are there already", f"8 items in 1 parts of {out}"]
    assert records(out) == whole
    assert all(path.stat().st_mtime_ns == stamp for path, stamp in before.items())
    told = regard(*words[:-1], "9").told("predict")
    assert told.startswith(f"{out} holds what came out of another call (")


def test_what_cannot_be_read_is_a_record_and_a_status(regard, classifier, tmp_path):
    given = written(tmp_path / "in.jsonl", 5)
    given.write_text(given.read_text() + "no json\n")
    done = regard("predict", classifier, "--input", given, "-o", tmp_path / "out")
    assert done.status == 1
    assert done.err.splitlines()[-1] == f"6 items in 1 parts of {tmp_path / 'out'}; 1 could not be read, and say why"
    assert "is not JSON" in records(tmp_path / "out")[5]["error"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-o", "out", "--file", "more.txt"), "--input names files, and nothing else is predicted beside"),
        ((), "--input writes parts into a folder: name it by -o, for example -o predictions"),
        (("-o", "out", "--whole"), "--whole is for --file; of --input a document goes into a record"),
        (("-o", "out", "--workers", "0"), "there has to be at least 1 worker, got --workers 0"),
        (("-o", "out", "--width", "3"), "--width is for models that write"),
    ],
)
def test_flags_that_do_not_fit(regard, classifier, tmp_path, words, told):
    given = written(tmp_path / "in.jsonl", 3)
    words = [tmp_path / word if word == "out" else word for word in words]
    assert told in regard("predict", classifier, "--input", given, *words).told("predict")


def actors() -> list[int]:
    """The processes of Ray that have the model."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            name = path.read_bytes()
            if name.startswith(b"ray::MapWorker") and b"__init__" not in name:
                found.append(int(path.parent.name))
        except OSError:  # it has ended
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="processes are found by Linux's /proc")
def test_an_actor_that_dies_loses_and_doubles_nothing(classifier, tmp_path):
    given, out = written(tmp_path / "in.jsonl", 10_000), tmp_path / "out"
    # In a process of its own, which Ray warns and starts others from; its workers would yield to other tests.
    command = [sys.executable, "-m", "regard", "predict", classifier, "--input", given, "-o", out, "--shard", "100"]
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    done = subprocess.Popen([*map(str, command), "--engine", "ray"], env=environment, stderr=subprocess.PIPE, text=True)
    killed = None
    while killed is None and done.poll() is None:
        if len(list(out.glob("part-*"))) >= 3 and (running := actors()):
            killed = running[0]
            os.kill(killed, signal.SIGKILL)
        time.sleep(0.01)
    _, told = done.communicate(timeout=300)
    assert done.returncode == 0, told
    assert killed is not None, "all was done before an actor was found at work"
    assert told.splitlines()[-1] == f"10,000 items in 100 parts of {out}"
    counts = Counter(record["id"] for record in records(out))
    assert counts == Counter(f"{given}:{number + 1}" for number in range(10_000))
    assert len(list(out.glob("part-*"))) == 100
    assert all(record["outputs"] for record in records(out))
