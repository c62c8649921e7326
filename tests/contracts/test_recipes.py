"""Every recipe in recipes/ is one that its task understands; the tiny one is trained."""

import json
from itertools import product
from pathlib import Path
from random import Random

import jaxtyping
import pytest
import yaml

from regard.data.pictures import to_png
from regard.tasks.phrases import captions
from regard.tasks.registry import TASKS, task
from regard.tasks.scenes import SHAPES, draw
from regard.tasks.speech import demo
from regard.training.recipe import parse_recipe, recipe_of, recipe_values

FOLDER = Path(__file__).parents[2] / "recipes"
RECIPES = sorted(FOLDER.rglob("*.y*ml"))


def name_of(path: Path) -> str:
    return path.relative_to(FOLDER).as_posix()


def read(path: Path, data: Path):
    """The recipe as `regard train TASK --config PATH --data DATA` reads it; its folder names the task."""
    recipe = task(path.relative_to(FOLDER).parts[0]).Recipe
    return parse_recipe(recipe, ["--data", str(data)], config=path)


def test_the_recipes_are_these() -> None:
    assert [name_of(path) for path in RECIPES] == [
        "captioning/flickr8k.yaml",
        "captioning/tiny.yaml",
        "detection/bccd.yaml",
        "detection/tiny.yaml",
        "segmentation/camvid.yaml",
        "segmentation/tiny.yaml",
        "sentiment/sst2.yaml",
        "sentiment/tiny.yaml",
        "speech/an4.yaml",
        "speech/tiny.yaml",
        "summarization/dialogsum.yaml",
        "summarization/tiny.yaml",
        "translation/multi30k.yaml",
        "translation/multi30k_150_minutes.yaml",
        "translation/multi30k_recurrent.yaml",
        "translation/tiny.yaml",
    ]


def test_every_task_has_a_tiny_recipe() -> None:
    assert {path.parent.name for path in RECIPES if path.name == "tiny.yaml"} == set(TASKS)


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_is_understood_and_comes_back(path: Path, tmp_path: Path) -> None:
    recipe = read(path, tmp_path)
    assert recipe.data == str(tmp_path)
    assert recipe_of(type(recipe), recipe_values(recipe), "here") == recipe
    written = yaml.safe_load(path.read_text(encoding="utf-8"))
    values = recipe_values(recipe)
    for key, value in written.items():
        held = values[key]
        assert held == value if not isinstance(value, dict) else held.items() >= value.items()


@pytest.mark.parametrize("path", RECIPES, ids=name_of)
def test_a_recipe_says_no_more_than_it_has_to(path: Path) -> None:
    """Where the data are is said on the command line, and a comment says what the recipe is for."""
    text = path.read_text(encoding="utf-8")
    assert "data" not in yaml.safe_load(text)
    assert text.startswith("# ")


def test_the_tiny_translation_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Other tests check shapes and draw pictures.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    subjects = {"the dog": "der Hund", "the man": "der Mann", "a bird": "ein Vogel", "a child": "ein Kind"}
    verbs = {"sees": "sieht", "hears": "hört", "follows": "verfolgt", "likes": "mag", "finds": "findet"}
    objects = {"the cat": "die Katze", "the woman": "die Frau", "the house": "das Haus", "the car": "das Auto"}
    pairs = [
        (" ".join(words) + ".", " ".join(part[word] for part, word in zip(parts, words, strict=True)) + ".")
        for parts in [(subjects, verbs, objects)]
        for words in product(*parts)
    ]
    splits = {"train": pairs[::5] + pairs[1::5] + pairs[2::5] + pairs[3::5], "val": pairs[4::5], "test": pairs[4::5]}
    for name, part in splits.items():
        (tmp_path / f"{name}.en").write_text("\n".join(source for source, _ in part) + "\n", encoding="utf-8")
        (tmp_path / f"{name}.de").write_text("\n".join(target for _, target in part) + "\n", encoding="utf-8")
    recipe = read(FOLDER / "translation" / "tiny.yaml", tmp_path)
    translation = task("translation")
    run = translation.train(recipe, tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert len(epochs) == recipe.training.epochs
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    found = translation.load(run).evaluate()
    assert len(found.outputs) == 16
    assert found.scores[0].name == "BLEU"


def test_the_tiny_summarization_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    rows = [
        json.dumps({"document": f"A {how} {thing} came.\nWe {did} it.", "summary": f"We {did} a {how} {thing}."})
        for thing, how, did in product(("dog", "song", "train"), ("late", "loud", "new"), ("saw", "heard"))
    ]
    for name, part in {"train": rows * 4, "val": rows[::3], "test": rows[1::3]}.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{row}\n" for row in part), encoding="utf-8")
    summarization = task("summarization")
    run = summarization.train(read(FOLDER / "summarization" / "tiny.yaml", tmp_path), tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    assert len(summarization.load(run).evaluate().outputs) == 6


def test_the_tiny_captioning_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    for split, size in (("train", 32), ("val", 6), ("test", 6)):
        (tmp_path / "images" / split).mkdir(parents=True)
        rows = []
        for number in range(size):
            drawn = draw(Random(f"{split} {number}"), side=48, most=1)
            (tmp_path / "images" / split / f"{number}.png").write_bytes(to_png(drawn.scene.picture))
            rows.append(json.dumps({"image": f"{number}.png", "caption": captions(drawn, Random(number))}))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(rows))
    captioning = task("captioning")
    run = captioning.train(read(FOLDER / "captioning" / "tiny.yaml", tmp_path), tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    found = captioning.load(run).evaluate()
    assert len(found.outputs) == 6
    assert found.scores[3].name == "BLEU-4"


def test_the_tiny_detection_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    for split, size in (("train", 32), ("val", 6), ("test", 6)):
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for number in range(size):
            scene = draw(Random(f"{split} {number}"), side=64, most=2).scene
            (tmp_path / "images" / split / f"{number}.png").write_bytes(to_png(scene.picture))
            lines = [
                f"{label} {(left + right) / 128} {(top + bottom) / 128} {(right - left) / 64} {(bottom - top) / 64}\n"
                for (left, top, right, bottom), label in zip(scene.boxes.tolist(), scene.labels.tolist(), strict=True)
            ]
            (tmp_path / "labels" / split / f"{number}.txt").write_text("".join(lines))
    (tmp_path / "classes.txt").write_text("\n".join(SHAPES))
    detection = task("detection")
    run = detection.train(read(FOLDER / "detection" / "tiny.yaml", tmp_path), tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert epochs[-1]["loss"] < 0.95 * epochs[0]["loss"]  # one of 0.85 to 0.92, by the seed and the processor
    found = detection.load(run).evaluate()
    assert len(found.outputs) == 6
    assert found.scores[0].name == "AP"


def test_the_tiny_segmentation_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    for split, size in (("train", 32), ("val", 6), ("test", 6)):
        for number in range(size):
            scene = draw(Random(f"{split} {number}"), side=64, most=2).scene
            for kind, pixels in (("images", scene.picture), ("masks", scene.mask)):
                (tmp_path / kind / split).mkdir(parents=True, exist_ok=True)
                (tmp_path / kind / split / f"{number}.png").write_bytes(to_png(pixels))
    segmentation = task("segmentation")
    run = segmentation.train(read(FOLDER / "segmentation" / "tiny.yaml", tmp_path), tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    found = segmentation.load(run).evaluate()
    assert len(found.outputs) == 6
    assert found.scores[0].name == "mIoU"


def test_the_tiny_sentiment_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    things, good, bad = ("film", "song", "book", "play"), ("fine", "warm", "sharp"), ("dull", "weak", "stale")
    lines = [
        f"{label} The {thing} was {word}."
        for thing in things
        for label, words in (("positive", good), ("negative", bad))
        for word in words
    ]
    for name, part in {"train": lines * 4, "val": lines[::2], "test": lines[1::2]}.items():
        (tmp_path / f"{name}.txt").write_text("".join(f"{line}\n" for line in part), encoding="utf-8")
    sentiment = task("sentiment")
    run = sentiment.train(read(FOLDER / "sentiment" / "tiny.yaml", tmp_path), tmp_path / "run")
    found = sentiment.load(run).evaluate()
    assert len(found.outputs) == 12
    assert found.scores[0].name == "accuracy"
    assert found.scores[0].value > 90


def test_the_tiny_speech_recipe_is_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    monkeypatch.setitem(demo.SIZES, "val", 6)
    monkeypatch.setitem(demo.SIZES, "test", 6)
    demo.write_data(tmp_path, examples=32)
    speech = task("speech")
    run = speech.train(read(FOLDER / "speech" / "tiny.yaml", tmp_path), tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    found = speech.load(run).evaluate()
    assert len(found.outputs) == 6
    assert found.scores[0].name == "WER"
