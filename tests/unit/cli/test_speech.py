"""The commands on a model that writes what it hears."""

import io
import json
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest

from regard.data.sounds import write_sound
from regard.tasks.morse import RATE, key

TINY = (
    *("--rate=8000", "--bands=16", "--model.dim=16", "--model.layers=1", "--model.decoder_layers=1", "--model.heads=2"),
    *("--model.feed_forward=16", "--model.kernel=5", "--batch=10", "--sub_words.vocabulary=45", "--decoding.width=3"),
    *("--decoding.max_length=20", "--training.epochs=1", "--training.average=0", "--training.device=cpu"),
    *("--training.precision=float32", "--augmentation.speed=[1.0]"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that was trained by `regard train speech`."""
    from regard.cli.main import main

    folder = tmp_path_factory.mktemp("keyed")
    rows = ["audio\ttext"]
    for number in range(6):
        keyed = key(Random(number), words=1)
        write_sound(folder / f"{number}.wav", keyed.sound, RATE)
        rows.append(f"{number}.wav\t{keyed.text}")
    for split in ("train", "val", "test"):
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    assert main(["train", "speech", "--data", str(folder), "--run", str(folder / "run"), *TINY]) == 0
    return folder / "run"


@pytest.fixture
def sound(run) -> Path:
    return run.parent / "1.wav"


def test_predict_writes_what_is_said_and_when(regard, run, sound):
    done = regard("predict", run, sound, sound)
    assert (done.status, done.err) == (0, "")
    assert len(done.out.splitlines()) == 2
    assert done.out.startswith("1.wav   ")
    row = json.loads(regard("predict", run, sound, "--json", "--n-best", "3").out)
    scores = [output["score"] for output in row["outputs"]]
    assert scores == sorted(scores, reverse=True)
    assert all({"text", "start", "end"} == set(word) for output in row["outputs"] for word in output["words"])


def test_predict_writes_subtitles_where_a_folder_is_named(regard, run, sound, tmp_path):
    regard("predict", run, sound)
    assert list(tmp_path.iterdir()) == []
    done = regard("predict", run, sound, "-o", tmp_path)
    assert done.status == 0
    assert {path.name for path in tmp_path.iterdir()} == {"1.srt", "1.vtt"}
    assert (tmp_path / "1.vtt").read_text().startswith("WEBVTT")


def test_evaluate_has_the_fields_metrics(regard, run, tmp_path):
    done = regard("evaluate", run, "--search", "greedy", "--output", tmp_path / "said.txt")
    assert done.status == 0
    assert [line[:34].strip() for line in done.out.splitlines()[:3]] == ["WER", "CER", "sentences right"]
    assert "95% of word error rates" in done.out
    assert len((tmp_path / "said.txt").read_text().splitlines()) == 6


def test_look_writes_the_page(regard, run, sound, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    assert regard("look", run, sound, "-o", tmp_path / "page.html").status == 0
    assert "labels (CTC)" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_stream_on_standard_input(regard, run, monkeypatch):
    keyed = key(Random(1), words=3)
    raw = (keyed.sound * 32767).short().numpy().tobytes() + b"\x01"  # half a sample at the end
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(raw)))
    done = regard("predict", run, "--stream", "--chunk", "0.5", "--ahead", "0.25", "--json")
    assert done.status == 0
    assert done.err == "hearing 8000 samples a second; what is said is heard within 0.72 seconds\n"
    assert all({"text", "start", "end"} == set(json.loads(line)) for line in done.out.splitlines())


def test_what_cannot_be_heard_is_named(regard, run, sound, tmp_path):
    (tmp_path / "text.wav").write_text("no sound")
    assert "text.wav is no sound" in regard("predict", run, tmp_path / "text.wav").told("predict")
    told = regard("predict", run, sound, "--stream").told("predict")
    assert told.startswith("--stream reads standard input: arecord")
    done = regard("predict", run, tmp_path / "text.wav", sound, "--skip")
    assert done.status == 1
    assert "left out: " in done.err
    assert done.out.startswith("1.wav   ")
