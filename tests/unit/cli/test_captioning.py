"""The commands on a model that says what pictures show."""

import json
from pathlib import Path
from random import Random

import pytest

from regard.data.pictures import to_png
from regard.tasks.phrases import captions
from regard.tasks.scenes import draw

TINY = (
    *("--model.dims=[16,16,32,32]", "--model.convolutions=[1,0,0,0]", "--model.attention=[0,0,1,0]"),
    *("--model.attends=[none,none,global,none]", "--model.dim=32", "--model.layers=1", "--model.heads=2"),
    *("--model.feed_forward=32", "--size=[48,48]", "--batch=4", "--sub_words.vocabulary=97", "--decoding.width=3"),
    *("--training.epochs=2", "--training.average=0", "--training.device=cpu", "--training.precision=float32"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that was trained by `regard train captioning`."""
    from regard.cli.main import main

    folder = tmp_path_factory.mktemp("scenes")
    (folder / "images").mkdir()
    rows = ["image\tcaption"]
    for number in range(8):
        drawn = draw(Random(number), side=48, most=2)
        (folder / "images" / f"{number}.png").write_bytes(to_png(drawn.scene.picture))
        rows += [f"{number}.png\t{caption}" for caption in captions(drawn, Random(number), count=2)]
    for split in ("train", "val", "test"):
        (folder / f"{split}.tsv").write_text("\n".join(rows) + "\n")
    assert main(["train", "captioning", "--data", str(folder), "--run", str(folder / "run"), *TINY]) == 0
    return folder / "run"


@pytest.fixture
def picture(run) -> Path:
    return run.parent / "images" / "1.png"


def test_predict_says_what_a_picture_shows(regard, run, picture):
    done = regard("predict", run, picture, picture)
    assert (done.status, done.err) == (0, "")
    assert len(done.out.splitlines()) == 2
    assert done.out.startswith("1.png   ")
    row = json.loads(regard("predict", run, picture, "--json", "--n-best", "3").out)
    assert len(row["outputs"]) == 3
    scores = [output["score"] for output in row["outputs"]]
    assert scores == sorted(scores, reverse=True)


def test_evaluate_has_the_fields_metrics(regard, run, tmp_path):
    done = regard("evaluate", run, "--search", "greedy", "--output", tmp_path / "captions.txt")
    assert done.status == 0
    assert [line[:34].strip() for line in done.out.splitlines()[:4]] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4"]
    assert "captions that stand among the 16 training captions" in done.out
    assert len((tmp_path / "captions.txt").read_text().splitlines()) == 8


def test_look_writes_the_page(regard, run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    assert regard("look", run, picture, "-o", tmp_path / "page.html").status == 0
    assert "caption" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_is_not_for_this_model_is_named(regard, run, picture, tmp_path):
    assert (
        regard("predict", run, picture, "-o", tmp_path)
        .told("predict")
        .startswith("-o is for models of pictures, which")
    )
    (tmp_path / "text.png").write_text("no picture")
    assert "text.png is no picture" in regard("predict", run, tmp_path / "text.png").told("predict")
