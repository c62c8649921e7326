"""Segmentation, from folders of pictures and masks to masks, overlays, scores and looks."""

import shutil
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
import torch
from PIL import Image
from tests.tasks.quick import quick

from regard.data.augmentation import Augmentation
from regard.data.pictures import read_picture, to_png, to_tensor
from regard.data.scene import IGNORE
from regard.explain import Look, page
from regard.tasks.colours import colours
from regard.tasks.scenes import SHAPES, draw
from regard.tasks.segmentation import PictureSegmenter, Recipe, load, resume, train
from regard.tasks.segmentation.pictures import overlay, sheet
from regard.tasks.segmentation.recipe import Files, Model, Prediction
from regard.tasks.segmentation.searching import probabilities, windows
from regard.tasks.segmentation.segmentation import class_weights, cross_entropy, dice_loss
from regard.training import TrainingOptions

CLASSES = ["background", *SHAPES]
NOTHING = Augmentation(flip=0.0, smallest=1.0, largest=1.0, stretch=1.0, colour=0.0)


def tiny(folder: Path, **options) -> Recipe:
    """A recipe of a few thousand parameters."""
    settings = {
        "files": Files(classes=CLASSES),
        "model": Model(
            dims=[16, 32, 32, 32],
            convolutions=[1, 0, 0, 0],
            attention=[0, 0, 1, 0],
            attends=["none", "none", "global", "none"],
            width=32,
            class_layers=1,
            dropout=0.0,
        ),
        "augmentation": NOTHING,
        "crop": [64, 64],
        "batch": 5,
        "training": TrainingOptions(
            epochs=60,
            learning_rate=1e-2,
            warmup_steps=10,
            validate_every=60,
            average=0,
            device="cpu",
            precision="float32",
        ),
        **options,
    }
    return Recipe(data=str(folder), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Ten drawn scenes, which are training, validation and test at once."""
    path = tmp_path_factory.mktemp("scenes")
    for split in ("train", "val", "test"):
        for kind in ("images", "masks"):
            (path / kind / split).mkdir(parents=True)
        for number in range(10):
            drawn = draw(Random(number), side=64, most=3)
            (path / "images" / split / f"{number}.png").write_bytes(to_png(drawn.scene.picture))
            (path / "masks" / split / f"{number}.png").write_bytes(to_png(drawn.scene.mask))
    return path


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> PictureSegmenter:
    """A model that was trained on the ten scenes until it knows them, saved and loaded."""
    with quick():
        return load(train(tiny(folder), tmp_path_factory.mktemp("runs") / "run"))


def test_ten_scenes_are_learned(trained):
    found = trained.evaluate()
    scores = {score.name: score.value for score in found.scores}
    assert scores["mIoU"] > 80
    assert scores["pixel accuracy"] > 95
    assert len(found.outputs) == 10
    assert found.table.splitlines()[1].startswith("background")
    assert found.pictures["segmentation.png"].startswith(b"\x89PNG")


def test_masks_are_the_pictures_size_and_are_written(trained, folder, tmp_path):
    path = str(folder / "images" / "test" / "3.png")
    ((output,),) = trained.predict([path])
    assert output.mask.shape == (64, 64)
    assert sum(output.shares.values()) == pytest.approx(1.0)
    assert str(output).startswith("3.png   background ")
    assert list(output.record()["shares"]) == list(output.shares)
    files = output.files()
    assert list(files) == [".mask.png", ".overlay.png"]
    (tmp_path / "mask.png").write_bytes(files[".mask.png"])
    with Image.open(tmp_path / "mask.png") as image:
        assert image.mode == "L"
        assert torch.equal(to_tensor(image.convert("RGB"))[0], output.mask)
    wide = tmp_path / "wide.png"
    read_picture(path).resize((150, 90)).save(wide)
    ((large,),) = trained.predict([str(wide)])
    assert large.mask.shape == (90, 150)


def test_large_pictures_are_brought_to_a_size_and_masks_back(trained, folder, tmp_path):
    path = tmp_path / "large.png"
    read_picture(folder / "images" / "test" / "3.png").resize((256, 256)).save(path)
    small = PictureSegmenter(trained.model, trained.classes, replace(trained.recipe, longest=64))
    ((large,),) = small.predict([str(path)])
    ((own,),) = trained.predict([str(folder / "images" / "test" / "3.png")])
    assert large.mask.shape == (256, 256)
    same = large.mask[2::4, 2::4] == own.mask
    assert float(same.float().mean()) > 0.97


def test_a_look_has_classes_and_places(trained, folder):
    look = trained.look(str(folder / "images" / "test" / "3.png"))
    assert isinstance(look, Look)
    pairs = {layer.name: (layer.queries, layer.keys) for layer in look.layers}
    places = "picture, every 16 pixels"
    assert pairs == {
        "encoder.stages.2.1.blocks.0.attention": (places, places),
        "layers.0.attention": ("classes", "classes"),
        "layers.0.cross": ("classes", places),
    }
    assert [piece.text for piece in look.side("classes").pieces] == CLASSES
    assert (look.side(places).grid.rows, look.side(places).grid.columns) == (4, 4)
    torch.testing.assert_close(look.layer("layers.0.cross").of_query(2).sum(), torch.tensor(1.0))
    assert "every 16 pixels" in page([look], title="test")


def test_a_run_that_was_stopped_goes_on(folder, tmp_path):
    recipe = tiny(folder, augmentation=Augmentation(mosaic=0.5))
    recipe = replace(recipe, training=replace(recipe.training, epochs=4, validate_every=2, ema_decay=0.9, log_every=1))
    with quick():
        whole = train(recipe, tmp_path / "whole")
        part = train(replace(recipe, training=replace(recipe.training, max_minutes=1e-9)), tmp_path / "part")
        config = part.config_path.read_text()
        part.config_path.write_text(config.replace("max_minutes: 1.0e-09", "max_minutes: null"))
        resume(part)
    losses = [[row["loss"] for row in run.read_metrics() if row["kind"] == "step"] for run in (whole, part)]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 8
    assert whole.weights_path.read_bytes() == part.weights_path.read_bytes()
    assert [path.name for path in sorted((whole.path / "samples").iterdir())] == ["epoch-002.png", "epoch-004.png"]


def test_pictures_that_cannot_be_read_are_left_out_and_named(folder, tmp_path, capsys):
    data = tmp_path / "data"
    shutil.copytree(folder, data)
    (data / "images" / "train" / "4.png").write_bytes(b"no picture")
    recipe = tiny(data)
    recipe = replace(recipe, training=replace(recipe.training, epochs=1))
    with pytest.raises(ValueError, match=r"4\.png is no picture.*To go on without such pictures: --files\.broken skip"):
        train(recipe, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    with quick():
        run = train(replace(recipe, files=replace(recipe.files, broken="skip")), tmp_path / "run")
    assert "left out of train: " in capsys.readouterr().err
    assert "4.png is no picture" in run.log_path.read_text()


def test_other_classes_than_the_models_are_named(trained, folder, tmp_path):
    other = PictureSegmenter(trained.model, trained.classes, replace(trained.recipe, files=Files(classes=["a", "b"])))
    with pytest.raises(ValueError, match="the test data have the classes a, b, and the model knows background, circle"):
        other.evaluate()


def test_one_class_is_nothing_to_tell_apart(tmp_path):
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (64, 64)).save(tmp_path / "images" / split / "a.png")
        Image.new("L", (64, 64)).save(tmp_path / "masks" / split / "a.png")
    with pytest.raises(ValueError, match=r"no pixel of the 1 masks counts: all of them are 255, or what files\.ignore"):
        train(tiny(tmp_path, files=Files(ignore=0)), tmp_path / "run")
    with pytest.raises(ValueError, match="all masks have the one class class 0: there is nothing to tell apart"):
        train(tiny(tmp_path, files=Files()), tmp_path / "run")


@pytest.mark.parametrize("size", [(64, 64), (100, 64), (150, 131), (400, 65)])
def test_windows_cover_the_picture_and_overlap(size):
    options = Prediction(window=64, overlap=0.25)
    seen = torch.zeros(size)
    for top, left, tall, wide in windows(*size, options):
        assert (tall, wide) == (64, 64)
        assert top + tall <= size[0]
        assert left + wide <= size[1]
        seen[top : top + tall, left : left + wide] += 1
    assert seen.min() >= 1
    tops = sorted({top for top, *_ in windows(*size, options)})
    assert all(second - first <= 48 for first, second in pairwise(tops))
    assert list(windows(*size, Prediction())) == [(0, 0, *size)]


def test_probabilities_are_such_however_they_are_found(trained):
    picture = draw(Random(99), side=96).scene.picture
    whole = probabilities(trained.model, picture, Prediction())
    for options in (Prediction(window=64), Prediction(mirror=True)):
        found = probabilities(trained.model, picture, options)
        assert found.shape == whole.shape == (6, 96, 96)
        torch.testing.assert_close(found.sum(0), torch.ones(96, 96))
    mirrored = probabilities(trained.model, picture.flip(-1), Prediction(mirror=True)).flip(-1)
    torch.testing.assert_close(
        mirrored, probabilities(trained.model, picture, Prediction(mirror=True)), atol=1e-5, rtol=1e-4
    )


def test_weights_are_one_in_the_mean_over_pixels():
    counts = torch.tensor([900, 90, 10, 0])
    weights = class_weights(counts)
    assert float((weights * counts).sum() / counts.sum()) == pytest.approx(1.0)
    assert weights.tolist() == sorted(weights.tolist())
    assert float(weights[1] / weights[0]) == pytest.approx(10**0.5)


def test_rare_classes_count_more_and_are_not_said_more():
    """The loss is least where the logits say how frequent each class is, whatever the classes count."""
    counts = torch.tensor([70, 25, 5])
    target = torch.arange(3).repeat_interleave(counts).view(1, 10, 10)
    for weights in (None, class_weights(counts), torch.tensor([0.1, 1.0, 7.0])):
        logits = counts.float().log().view(1, 3, 1, 1).expand(1, 3, 10, 10).clone().requires_grad_()
        (at_frequencies,) = torch.autograd.grad(cross_entropy(logits, target, weights, 0.0), logits)
        torch.testing.assert_close(at_frequencies.sum((0, 2, 3)), torch.zeros(3), atol=1e-6, rtol=0.0)
    target[0, 0] = IGNORE
    (gradient,) = torch.autograd.grad(cross_entropy(logits, target, weights, 0.0), logits)
    assert not gradient[0, :, 0].any()
    missed = gradient[0, :, -1, -1]  # a pixel of the rarest class
    torch.testing.assert_close(missed[2], -7.0 * (1 - (counts[2] * 7.0 / (counts * weights).sum())) / 90)


def test_dice_is_nothing_where_all_is_right_and_knows_no_unknown():
    masks = torch.tensor([[[0, 1, 2, IGNORE]]]).byte()
    logits = torch.full((1, 3, 1, 4), -50.0)
    for place, number in enumerate((0, 1, 2, 0)):
        logits[0, number, 0, place] = 50.0
    assert float(dice_loss(logits, masks)) == pytest.approx(0.0, abs=1e-6)
    logits[0, :, 0, 3] = torch.tensor([-50.0, -50.0, 50.0])
    assert float(dice_loss(logits, masks)) == pytest.approx(0.0, abs=1e-6)
    logits[0, :, 0, 2] = torch.tensor([50.0, -50.0, -50.0])  # one of three is missed, and taken for the first
    assert float(dice_loss(logits, masks)) == pytest.approx(1 - (2 / 3 + 1 + 0) / 3, abs=1e-6)
    nothing = torch.full((1, 1, 4), IGNORE).byte()
    assert float(dice_loss(logits, nothing)) == 1.0


def test_pictures_for_people():
    assert len({tuple(colour) for colour in colours(20)[:20].tolist()}) == 20
    assert colours(3)[IGNORE].tolist() == [0, 0, 0]
    picture, mask = torch.full((3, 40, 60), 90).byte(), torch.zeros(40, 60, dtype=torch.uint8)
    mask[:, 30:] = 1
    found = overlay(picture, mask, ["sky", "a road"])
    assert found.shape[0] == 3
    assert found.shape[1] > 40, "names stand below"
    assert found[:, 20, 30].tolist() == [255] * 3, "a border"
    assert found[:, 20, 5].tolist() != found[:, 20, 50].tolist()
    assert sheet([(picture, mask, mask)] * 2, ["sky", "a road"]).startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"crop": [64]}, "crop is a height and a width of 32 pixels or more"),
        ({"batch": 0}, "batch is 1 picture or more"),
        ({"longest": 0}, "longest is 32 pixels or more, or null; got 0"),
        ({"dice": 1.5}, "dice is a share of the loss"),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **options)
    with pytest.raises(ValueError, match=r"prediction\.window is a side of 64 pixels or more"):
        Prediction(window=10)
    with pytest.raises(ValueError, match=r"prediction\.overlap is a share"):
        Prediction(overlap=1.0)
