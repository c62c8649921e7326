"""`regard demo TASK` in tiny form: data, training, evaluation, unseen inputs, the page."""

from importlib import import_module

import jaxtyping
import pytest

from regard.tasks import dates
from regard.tasks.sentiment import demo as sentiment
from regard.tasks.sentiment import reviews


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    """Few dates, pictures that are not drawn, and shapes that are not checked: other tests see to them."""
    for split in ("validation", "test"):
        monkeypatch.setitem(dates.SIZES, split, 7)
    monkeypatch.setattr("regard.cli.look.draw", lambda alignment, path: path.touch())
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def test_the_whole_road(regard, tmp_path):
    run = tmp_path / "run"
    done = regard("demo", "--run", run, "--examples", 97, "--epochs", 1)
    assert done.status == 0, done.err
    assert "made 97 examples in" in done.err
    assert "right to the letter on held-out dates, times and numbers:" in done.out
    for text, iso in dates.EXAMPLES.items():
        (line,) = (line for line in done.out.splitlines() if line.startswith(f"  {text} "))
        assert line.endswith(("right", f"wrong, it is {iso}"))
    assert f"Try: regard predict {run} " in done.out
    assert {"attention.html", "attention-4.png", "weights.safetensors"} <= {path.name for path in run.iterdir()}
    assert (tmp_path / "run-data" / "test.iso").exists()


def test_the_whole_road_of_sentiment(regard, tmp_path, monkeypatch):
    for split in ("validation", "test"):
        monkeypatch.setitem(reviews.SIZES, split, 7)
    monkeypatch.setattr(sentiment, "_POINTED", 3)
    run = tmp_path / "run"
    done = regard("demo", "sentiment", "--run", run, "--examples", 97, "--epochs", 1)
    assert done.status == 0, done.err
    assert "made 97 examples in" in done.err
    assert "right on 7 held-out reviews:" in done.out
    for name in ("plain attention", "attention times gradient"):
        assert f"the strongest word by {name} is one that decides:" in done.out
    for text, label in reviews.EXAMPLES.items():
        (line,) = (line for line in done.out.splitlines() if line.startswith(f"  {text} "))
        assert line.endswith(("right", f"wrong, it is {label}"))
    assert {"attention.html", "attention-4.png", "labels.json"} <= {path.name for path in run.iterdir()}


@pytest.mark.parametrize(("name", "first"), [("segmentation", "mIoU"), ("detection", "AP"), ("captioning", "BLEU-1")])
def test_the_whole_road_of_pictures(regard, tmp_path, monkeypatch, name, first):
    demo = import_module(f"regard.tasks.{name}.demo")
    for split in ("val", "test"):
        monkeypatch.setitem(demo.SIZES, split, 3)
    run = tmp_path / "run"
    done = regard("demo", name, "--run", run, "--examples", 16, "--epochs", 1)
    assert done.status == 0, done.err
    assert "made 16 examples in" in done.err
    assert "images/train/0000.png: " in done.err
    assert f"on 3 scenes never seen:\n  {first} " in done.out
    assert f"Try: regard predict {run} '{tmp_path / 'run-data' / 'images' / 'test' / '0000.png'}'" in done.out
    assert {"attention.html", "attention-3.png", "weights.safetensors"} <= {path.name for path in run.iterdir()}


def test_the_whole_road_of_speech(regard, tmp_path, monkeypatch):
    demo = import_module("regard.tasks.speech.demo")
    for split in ("val", "test"):
        monkeypatch.setitem(demo.SIZES, split, 3)
    run = tmp_path / "run"
    done = regard("demo", "speech", "--run", run, "--examples", 8, "--epochs", 1)
    assert done.status == 0, done.err
    assert "audio/train/0000.wav: " in done.err
    assert "on 3 recordings never heard:\n  WER " in done.out
    assert f"Try: regard predict {run} '{tmp_path / 'run-data' / 'audio' / 'test' / '0000.wav'}'" in done.out
    assert {"attention.html", "attention-3.png", "weights.safetensors"} <= {path.name for path in run.iterdir()}


def test_a_task_that_is_not_there(regard, tmp_path):
    told = regard("demo", "cooking", "--run", tmp_path / "run").told("demo")
    assert told.startswith("there is no task 'cooking'; the tasks are: translation, summarization, sentiment")


def test_a_run_that_is_there_keeps_its_data(regard, tmp_path):
    (tmp_path / "run").mkdir()
    assert "choose another, for example --run" in regard("demo", "--run", tmp_path / "run").told("demo")
    assert not (tmp_path / "run-data").exists()
