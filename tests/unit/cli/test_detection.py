"""The commands on a model that finds things: files in; counts, boxes and drawn pictures out."""

import json
from pathlib import Path
from random import Random

import pytest

from regard.data.coco import Coco
from regard.data.pictures import to_png
from regard.tasks.scenes import SHAPES, draw

TINY = (
    *("--model.dims=[16,16,32,32]", "--model.convolutions=[1,0,0,0]", "--model.attention=[0,0,1,0]"),
    *("--model.attends=[none,none,global,none]", "--model.width=32", "--model.layers=1", "--model.heads=4"),
    *("--model.queries=12", "--helps.more=6", "--helps.denoising=6", "--size=[64,64]", "--batch=4", "--least=0.01"),
    *("--training.epochs=2", "--training.average=0", "--training.device=cpu", "--training.precision=float32"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A run that was trained by `regard train detection`."""
    from regard.cli.main import main

    folder = tmp_path_factory.mktemp("scenes")
    for split in ("train", "val", "test"):
        images, annotations = [], []
        (folder / "images" / split).mkdir(parents=True)
        for number in range(4):
            scene = draw(Random(number), side=64).scene
            (folder / "images" / split / f"{number}.png").write_bytes(to_png(scene.picture))
            images.append({"id": number, "file_name": f"{number}.png"})
            for (left, top, right, bottom), label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True):
                box = [left, top, right - left, bottom - top]
                annotations.append({"image_id": number, "category_id": label, "bbox": box})
        categories = [{"id": place, "name": name} for place, name in enumerate(SHAPES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (folder / f"{split}.json").write_text(json.dumps(content))
    assert main(["train", "detection", "--data", str(folder), "--run", str(folder / "run"), *TINY]) == 0
    return folder / "run"


@pytest.fixture
def picture(run) -> Path:
    return run.parent / "images" / "test" / "1.png"


def test_predict_draws_boxes_and_writes_json(regard, run, picture, tmp_path):
    done = regard("predict", run, picture, "-o", tmp_path / "out")
    assert done.status == 0
    assert done.out.startswith("1.png   ")
    assert done.err.splitlines() == [
        f"wrote {tmp_path / 'out' / '1'}.{ending}" for ending in ("boxes.png", "coco.json")
    ]
    coco = Coco.read(tmp_path / "out" / "1.coco.json")
    assert (list(coco.pictures.values()), list(coco.categories.values())) == (["1.png"], list(SHAPES))
    row = json.loads(regard("predict", run, picture, "--json", "-o", tmp_path / "out").out)
    for thing in row["outputs"][0]["things"]:
        assert thing["label"] in SHAPES
        assert thing["score"] >= 0.01
        assert len(thing["bbox"]) == 4


def test_evaluate_has_cocos_metrics(regard, run, tmp_path):
    done = regard("evaluate", run, "--pictures", tmp_path)
    assert done.status == 0
    assert [line[:34].strip() for line in done.out.splitlines()[:3]] == ["AP", "AP50", "AP75"]
    assert "circle" in done.out
    assert (tmp_path / "detection.png").read_bytes().startswith(b"\x89PNG")


def test_look_writes_the_page(regard, run, picture, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    assert regard("look", run, picture, "-o", tmp_path / "page.html").status == 0
    assert "things" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_what_is_odd_is_said_at_the_beginning(regard, run, tmp_path):
    done = regard("train", "detection", "--data", run.parent, "--run", tmp_path / "run", *TINY, "--model.queries=1")
    assert done.status == 0
    assert "the model finds 1 at most: --model.queries" in done.err
    assert "the model finds 1 at most" in (tmp_path / "run" / "train.log").read_text()
