"""The commands on a model of pictures: files in; shares, masks and overlays out."""

import json
from pathlib import Path
from random import Random

import pytest
from PIL import Image

from regard.data.pictures import to_png
from regard.tasks.scenes import SHAPES, draw

TINY = (
    *("--model.dims=[16,16,32,32]", "--model.convolutions=[1,0,0,0]", "--model.attention=[0,0,1,0]"),
    *("--model.attends=[none,none,global,none]", "--model.width=32", "--model.class_layers=1", "--crop=[64,64]"),
    *("--batch=4", "--training.epochs=2", "--training.average=0", "--training.device=cpu"),
    *("--training.precision=float32", "--training.warmup_steps=1"),
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for split in ("train", "val", "test"):
        for number in range(4):
            scene = draw(Random(number), side=64).scene
            for kind, pixels in (("images", scene.picture), ("masks", scene.mask)):
                (folder / kind / split).mkdir(parents=True, exist_ok=True)
                (folder / kind / split / f"{number}.png").write_bytes(to_png(pixels))
    (folder / "classes.txt").write_text("\n".join(("background", *SHAPES)))
    return folder


@pytest.fixture(scope="module")
def run(scenes) -> Path:
    """A run that was trained by `regard train segmentation`."""
    from regard.cli.main import main

    assert main(["train", "segmentation", "--data", str(scenes), "--run", str(scenes / "run"), *TINY]) == 0
    return scenes / "run"


@pytest.fixture
def picture(scenes) -> Path:
    return scenes / "images" / "test" / "1.png"


def test_a_run_shows_what_it_finds(run):
    assert [path.name for path in sorted((run / "samples").iterdir())] == ["epoch-001.png", "epoch-002.png"]
    assert json.loads((run / "labels.json").read_text()) == ["background", *SHAPES]


def test_predict_writes_masks_and_overlays(regard, run, picture, tmp_path):
    done = regard("predict", run, picture, "-o", tmp_path / "out")
    assert done.status == 0
    assert done.out.startswith("1.png   ")
    assert done.err.splitlines() == [f"wrote {tmp_path / 'out' / '1'}.{kind}.png" for kind in ("mask", "overlay")]
    with Image.open(tmp_path / "out" / "1.mask.png") as mask:
        assert (mask.mode, mask.size) == ("L", (64, 64))
    row = json.loads(regard("predict", run, picture, "--json", "-o", tmp_path / "out").out)
    assert row["input"] == str(picture)
    assert sum(row["outputs"][0]["shares"].values()) == pytest.approx(1, abs=1e-4)


def test_pictures_of_one_name_do_not_overwrite_each_other(regard, run, scenes, tmp_path):
    given = [scenes / "images" / split / "1.png" for split in ("train", "val", "test")]
    assert regard("predict", run, *given, "-o", tmp_path).status == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"{stem}.{kind}.png" for stem in ("1-2", "1-3", "1") for kind in ("mask", "overlay")
    ]


def test_a_picture_that_cannot_be_read_stops_or_is_named(regard, run, picture, tmp_path):
    (tmp_path / "broken.jpg").write_text("no picture")
    given = (picture, tmp_path / "broken.jpg", picture)
    done = regard("predict", run, *given, "-o", tmp_path / "a")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith(f"regard predict: {tmp_path / 'broken.jpg'} is no picture: give a PNG")
    done = regard("predict", run, *given, "-o", tmp_path / "b", "--skip")
    assert done.status == 1, "not everything was done"
    assert len(done.out.splitlines()) == 2
    assert f"left out: {tmp_path / 'broken.jpg'} is no picture" in done.err
    assert len(list((tmp_path / "b").iterdir())) == 4


def test_evaluate_has_metrics_a_table_and_a_sheet(regard, run, tmp_path):
    done = regard("evaluate", run, "--pictures", tmp_path, "--output", tmp_path / "pictures.tsv")
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line[:34].strip() for line in lines[:4]] == ["mIoU", "pixel accuracy", "class accuracy", "boundary F"]
    assert lines[5].split()[:4] == ["class", "IoU", "precision", "recall"]
    assert (tmp_path / "segmentation.png").read_bytes().startswith(b"\x89PNG")
    assert [line.split("\t")[0] for line in (tmp_path / "pictures.tsv").read_text().splitlines()] == [
        f"{number}.png" for number in range(4)
    ]


def test_look_writes_the_page(regard, run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    assert regard("look", run, picture, "-o", tmp_path / "page.html").status == 0
    assert "every 16 pixels" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_is_not_for_this_model_is_named(regard, run, picture, model):
    told = regard("predict", run, picture, "--width", "3").told("predict")
    assert told.startswith("--width is for models that write")
    told = regard("predict", model, "a text", "-o", "here").told("predict")
    assert told.startswith("-o is for models of pictures, which draw")
    told = regard("predict", "hf:some/model", picture, "--task", "segmentation").told("predict")
    assert told.startswith("segmentation runs no pretrained model as it is; begin with its encoder: regard train")


def test_options_that_make_no_sense_are_named(regard, scenes, tmp_path):
    where = ("--data", scenes, "--run", tmp_path / "run")
    told = regard("train", "segmentation", *where, "--crop=[8,8]").told("train")
    assert "crop is a height and a width of 32 pixels or more" in told
    told = regard("train", "segmentation", *where, "--model.dims=[16,20,32,32]", "--model.attention=[0,1,0,0]").told(
        "train"
    )
    assert "dims with attention are multiples of head_dim (32); got 20" in told
