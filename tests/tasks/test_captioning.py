"""Captioning, from pictures and captions to what is said of a picture, scores and looks."""

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
import torch
from tests.tasks.quick import quick

from regard.data.augmentation import Augmentation
from regard.data.pictures import to_png
from regard.decoding import Greedy
from regard.explain import Look, page
from regard.tasks.captioning import PictureCaptioner, Recipe, load, resume, train
from regard.tasks.captioning.metrics import words
from regard.tasks.captioning.recipe import Model
from regard.tasks.phrases import captions
from regard.tasks.scenes import draw
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions
from regard.training.checkpoint import load_checkpoint

NOTHING = Augmentation(flip=0.0, smallest=1.0, largest=1.0, stretch=1.0, colour=0.0)


def tiny(folder: Path, architecture: str = "transformer", **options) -> Recipe:
    """A recipe of a few ten thousand parameters."""
    settings = {
        "sub_words": SubWords(vocabulary=97, lowercase=True),
        "model": Model(
            architecture=architecture,
            dims=[16, 32, 32, 32],
            convolutions=[1, 0, 0, 0],
            attention=[0, 1, 0, 0],
            attends=["none", "global", "none", "none"],
            level=1,
            dim=32,
            layers=1,
            heads=2,
            feed_forward=64,
            hidden=48,
            dropout=0.0,
        ),
        "augmentation": NOTHING,
        "size": [48, 48],
        "batch": 4,
        "label_smoothing": 0.0,
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
    """Eight drawn scenes with two captions each, which are training, validation and test at once."""
    path = tmp_path_factory.mktemp("scenes")
    (path / "images").mkdir()
    rows = []
    for number in range(8):
        drawn = draw(Random(number), side=48, most=2)
        (path / "images" / f"{number}.png").write_bytes(to_png(drawn.scene.picture))
        rows.append(json.dumps({"image": f"{number}.png", "caption": captions(drawn, Random(number), count=2)}))
    for split in ("train", "val", "test"):
        (path / f"{split}.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["transformer", "soft", "hard"])
def trained(request, folder, tmp_path_factory) -> PictureCaptioner:
    """A model that was trained on the eight scenes until it knows them, saved and loaded."""
    recipe = tiny(folder, request.param)
    if request.param != "transformer":  # which learns faster
        training = replace(recipe.training, epochs=150, validate_every=150)
        recipe = replace(recipe, received=0.01, batch=8, training=training)
    with quick():
        return load(train(recipe, tmp_path_factory.mktemp("runs") / "run"))


def test_eight_pictures_are_learned(trained, folder):
    found = trained.evaluate()
    scores = {score.name: score.value for score in found.scores}
    assert scores["BLEU-1"] > 80
    rows = [json.loads(line) for line in (folder / "test.jsonl").read_text().splitlines()]
    right = [
        words(said) in {words(one) for one in row["caption"]} for said, row in zip(found.outputs, rows, strict=True)
    ]
    assert sum(right) >= 6
    assert "stand among the 16 training captions" in found.table


@pytest.mark.parametrize("architecture", ["transformer", "soft", "hard"])
def test_every_weight_has_a_use(folder, architecture):
    model = tiny(folder, architecture).model.build(11)
    pictures, one = torch.randint(256, (2, 3, 48, 48)).byte(), torch.ones(2, dtype=torch.long)
    (model(pictures, one, torch.randint(4, 11, (2, 5))) @ model.output_weight.T).square().sum().backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []


def test_outputs_come_in_the_order_of_their_pictures(trained, folder):
    files = [str(folder / "images" / f"{number}.png") for number in (3, 1, 2)]
    together = [found[0].text for found in trained.predict(files)]
    apart = [next(trained.predict([path]))[0].text for path in files]
    assert together == apart
    several = next(trained.predict(files[:1], replace(trained.recipe.decoding, n_best=3)))
    assert len(several) == 3
    assert str(several[0]) == f"3.png   {several[0].text}"
    assert several[0].ranked.endswith(several[0].text)
    assert set(several[0].record()) == {"text", "score"}
    assert len(next(trained.predict(files[:1], Greedy(max_length=3)))[0].hypothesis.tokens) <= 3


def test_a_look_has_words_over_the_picture(trained, folder):
    path = folder / "images" / "3.png"
    look = trained.look(str(path))
    assert isinstance(look, Look)
    pieces = [piece for piece in look.side("caption").pieces if not piece.special]
    said = "".join(piece.text if not piece.starts else f" {piece.text}" for piece in pieces)
    assert words(said) == words(next(trained.predict([str(path)]))[0].text)
    grid = look.side("picture").grid
    assert (grid.rows, grid.columns) == (6, 6)
    crossing = [layer for layer in look.layers if (layer.queries, layer.keys) == ("caption", "picture")]
    assert len(crossing) == 1
    torch.testing.assert_close(crossing[0].of_query(0).sum(), torch.tensor(1.0), atol=1e-4, rtol=0)
    assert "caption" in page([look], title="test")


def test_a_run_that_was_stopped_goes_on(folder, tmp_path):
    recipe = tiny(folder, augmentation=Augmentation())
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
    models = [load_checkpoint(run.checkpoint_path)["model"] for run in (whole, part)]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])


def test_what_is_odd_about_data_is_said(folder, tmp_path, capsys):
    (tmp_path / "images").symlink_to(folder / "images")
    for split in ("train", "val"):
        rows = (folder / f"{split}.jsonl").read_text()
        rows += '{"image": "none.png", "caption": "a thing"}\n{"image": "0.png", "caption": " "}\n'
        (tmp_path / f"{split}.jsonl").write_text(rows)
    recipe = tiny(tmp_path)
    recipe = replace(recipe, training=replace(recipe.training, epochs=1))
    with pytest.raises(ValueError, match=r"none\.png"):
        train(recipe, tmp_path / "run")
    with quick():
        run = train(replace(recipe, files=replace(recipe.files, broken="skip")), tmp_path / "run")
    said = capsys.readouterr().err
    assert "train: 1 captions have no words, and are left out" in said
    assert "val: left out: there is no file" in said
    assert "val: left out: there is no file" in run.log_path.read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": [64]}, "size is a height and a width of 32 pixels or more"),
        ({"batch": 0}, "batch is 1 picture or more"),
        ({"received": 1.0}, "received is for the decoders soft and hard: leave it out, or --model.architecture soft"),
    ],
)
def test_options_that_make_no_sense_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **options)
