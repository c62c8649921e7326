"""Detection, from pictures and boxes to things that are found, scores and looks."""

import json
import re
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from tests.tasks.quick import quick

from regard.data.augmentation import Augmentation
from regard.data.boxed import survey_boxes
from regard.data.pictures import read_picture, to_png
from regard.explain import Look, page
from regard.tasks.detection import PictureDetector, Recipe, advice, load, resume, train
from regard.tasks.detection.advice import of_data, of_run
from regard.tasks.detection.metrics import Detected, Truth
from regard.tasks.detection.picture_detector import find
from regard.tasks.detection.recipe import Files, Helps, Model
from regard.tasks.scenes import SHAPES, draw
from regard.training import TrainingOptions
from regard.training.checkpoint import load_checkpoint

NOTHING = Augmentation(flip=0.0, smallest=1.0, largest=1.0, stretch=1.0, colour=0.0)


def tiny(folder: Path, **options) -> Recipe:
    """A recipe of a few ten thousand parameters."""
    settings = {
        "model": Model(
            dims=[16, 32, 32, 32],
            convolutions=[1, 1, 0, 0],
            attention=[0, 0, 1, 0],
            attends=["none", "none", "global", "none"],
            width=32,
            layers=2,
            heads=4,
            queries=12,
            points=3,
        ),
        "helps": Helps(denoising=6, more=12, repeats=2),
        "augmentation": NOTHING,
        "size": [64, 64],
        "batch": 4,
        "training": TrainingOptions(
            epochs=100,
            learning_rate=4e-3,
            warmup_steps=20,
            validate_every=100,
            average=0,
            device="cpu",
            precision="float32",
        ),
        **options,
    }
    return Recipe(data=str(folder), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Eight drawn scenes in COCO's form, which are training, validation and test at once."""
    path = tmp_path_factory.mktemp("scenes")
    (path / "annotations").mkdir()
    for split in ("train", "val", "test"):
        (path / "images" / split).mkdir(parents=True)
        images, annotations = [], []
        for number in range(8):
            scene = draw(Random(number), side=64, most=3).scene
            (path / "images" / split / f"{number}.png").write_bytes(to_png(scene.picture))
            images.append({"id": number, "file_name": f"{number}.png"})
            for (left, top, right, bottom), label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True):
                box = [left, top, right - left, bottom - top]
                annotations.append({"id": len(annotations), "image_id": number, "category_id": label + 1, "bbox": box})
        categories = [{"id": place + 1, "name": name} for place, name in enumerate(SHAPES)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (path / "annotations" / f"{split}.json").write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> PictureDetector:
    """A model that was trained on the eight scenes until it knows them, saved and loaded."""
    with quick():
        return load(train(tiny(folder), tmp_path_factory.mktemp("runs") / "run"))


def test_eight_pictures_are_learned(trained):
    found = trained.evaluate()
    scores = {score.name: score.value for score in found.scores}
    assert scores["AP50"] > 90
    assert scores["AP"] > 60
    assert len(found.outputs) == 8
    assert found.pictures["detection.png"].startswith(b"\x89PNG")


def test_things_are_found_in_the_pixels_of_the_picture(trained, folder, tmp_path):
    path = folder / "images" / "test" / "1.png"
    ((output,),) = trained.predict([str(path)])
    true = draw(Random(1), side=64, most=3)
    assert output.found.labels[0] == true.scene.labels[0]  # the surest
    torch.testing.assert_close(output.found.boxes[0], true.scene.boxes[0], atol=6.0, rtol=0.05)
    assert str(output).startswith(f"1.png   {len(output.found.labels)} ")
    record = output.record()["things"]
    assert record[0]["label"] in SHAPES
    assert len(record[0]["bbox"]) == 4
    assert output.files()[".boxes.png"].startswith(b"\x89PNG")
    read_picture(path).resize((192, 192)).save(tmp_path / "large.png")
    ((large,),) = trained.predict([str(tmp_path / "large.png")])
    torch.testing.assert_close(large.found.boxes[0], 3 * output.found.boxes[0], atol=6.0, rtol=0.05)


def test_a_picture_of_another_shape_is_fitted(trained, folder, tmp_path):
    path = folder / "images" / "test" / "1.png"
    wide = tmp_path / "wide.png"
    read_picture(path).resize((128, 64)).save(wide)
    ((output,),) = trained.predict([str(wide)])
    assert (output.found.boxes[:, 2] <= 128).all()
    assert (output.found.boxes[:, 3] <= 64).all()


def test_a_look_has_the_things_and_where_they_looked(trained, folder):
    look = trained.look(str(folder / "images" / "test" / "1.png"))
    assert isinstance(look, Look)
    assert [(layer.name, layer.queries, layer.keys) for layer in look.layers] == [
        (f"layer {number}", "things", "picture") for number in (1, 2)
    ]
    assert (look.side("picture").grid.rows, look.side("picture").grid.columns) == (8, 8)
    weights = look.layer("layer 2").of_query(0)
    torch.testing.assert_close(weights.sum(), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert "layer 2" in page([look], title="test")


def test_a_run_that_was_stopped_goes_on(folder, tmp_path):
    recipe = tiny(folder, augmentation=Augmentation(mosaic=0.5))
    training = replace(recipe.training, epochs=4, validate_every=2, ema_decay=0.9, log_every=1)
    recipe = replace(recipe, training=training)
    with quick():
        whole = train(recipe, tmp_path / "whole")
        part = train(replace(recipe, training=replace(training, max_minutes=1e-9)), tmp_path / "part")
        config = part.config_path.read_text()
        part.config_path.write_text(config.replace("max_minutes: 1.0e-09", "max_minutes: null"))
        resume(part)
    losses = [[row["loss"] for row in run.read_metrics() if row["kind"] == "step"] for run in (whole, part)]
    assert losses[0] == losses[1]
    # The best weights may be others: while nothing is found, the epoch that was cut short is the first to find that.
    models = [load_checkpoint(run.checkpoint_path)["model"] for run in (whole, part)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert (whole.path / "samples" / "epoch-004.png").exists()


def test_a_run_that_does_not_learn_says_why(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(advice, "EARLY", 101.0)  # whatever it finds is too little: by chance it finds something
    recipe = tiny(folder)
    training = replace(recipe.training, epochs=3, validate_every=1, learning_rate=1e-9)
    with quick():
        train(replace(recipe, training=training), tmp_path / "run")
    said = capsys.readouterr().err
    assert "epoch 3: has not learned yet: " in said
    assert "epoch 2: has not learned yet: " not in said


def test_a_run_that_learns_is_not_warned_of(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(advice, "EARLY", 0.0)
    recipe = tiny(folder)
    with quick():
        train(replace(recipe, training=replace(recipe.training, epochs=3, validate_every=1)), tmp_path / "run")
    assert "has not learned" not in capsys.readouterr().err


BOXES = torch.tensor([[10.0, 30.0, 30.0, 90.0], [50.0, 20.0, 80.0, 40.0]])
TRUE = [Truth(size=(100, 100), boxes=BOXES, labels=torch.tensor([0, 1]))]


def seen(boxes: torch.Tensor, labels: list[int]) -> list[Detected]:
    return [Detected(boxes=boxes, scores=torch.ones(len(boxes)), labels=torch.tensor(labels, dtype=torch.long))]


@pytest.mark.parametrize(
    ("boxes", "labels", "said"),
    [
        (BOXES, [1, 0], "its boxes fit .* but 0% of them have the right class"),
        (BOXES[:, [1, 0, 3, 2]], [0, 1], "rows and columns exchanged"),
        (BOXES + torch.tensor([25.0, 0.0, 25.0, 0.0]), [0, 1], "lies right of the boxes"),
        (BOXES + torch.tensor([-3.0, -20.0, 3.0, 20.0]), [0, 1], "its boxes do not fit yet"),
        (BOXES[:0], [], "it finds nothing yet"),
    ],
)
def test_why_it_may_not_learn(boxes, labels, said):
    assert re.search(said, of_run(seen(boxes, labels), TRUE))


def test_what_is_odd_about_data(folder):
    recipe = tiny(folder, size=[32, 32], model=Model(queries=2))
    looked = survey_boxes(find(recipe, "train"))
    assert any("finds 2 at most: --model.queries" in line for line in of_data(looked, recipe))
    odd = replace(looked, things=torch.tensor([500, 3, 0, 9, 9]), sides=torch.tensor([0.05] * 9), outside=2, empty=1)
    said = "\n".join(of_data(odd, recipe))
    assert "no training picture has the class triangle: it can never be found" in said
    assert "100 times fewer square" in said
    assert "100% of the boxes are less than 4 pixels wide or high at the size trained on" in said
    assert "2 boxes enclose nothing of their picture" in said
    assert "1 pictures have no things" in said


def test_classes_that_the_model_does_not_know_are_named(trained, folder):
    other = PictureDetector(trained.model, ["a", "b"], trained.recipe)
    with pytest.raises(ValueError, match="the test data have the class 'circle', and the model knows a, b"):
        other.evaluate()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [64]}, "size is a height and a width of 32 pixels or more"),
        ({"batch": 0}, "batch is 1 picture or more"),
        ({"least": 1.0}, "least is a probability"),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, files=Files(), **options)
