"""A folder for a hub: it runs, says what the run knows, and nothing of where it was."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from regard.export.hub import to_hub
from regard.tasks.registry import open_run
from regard.tasks.sentiment import Recipe, load, train
from regard.tasks.sentiment.recipe import Model
from regard.tasks.sub_words import SubWords
from regard.training import RunDirectory, TrainingOptions


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("somewhere-private")
    (folder / "reviews").mkdir()
    for split in ("train", "val"):
        (folder / "reviews" / f"{split}.txt").write_text("good a fine film\nbad a dull film\n" * 8)
    recipe = Recipe(
        data=str(folder / "reviews"),
        sub_words=SubWords(vocabulary=60),
        model=Model(dim=16, layers=1, heads=2, feed_forward=32),
        training=TrainingOptions(epochs=2, average=0, device="cpu", precision="float32"),
    )
    return train(recipe, folder / "run")


def card(folder: Path) -> tuple[dict[str, Any], str]:
    text = (folder / "README.md").read_text(encoding="utf-8")
    _, head, body = text.split("---\n", 2)
    return yaml.safe_load(head), body


def test_it_runs_and_says_what_it_is(run: RunDirectory, tmp_path: Path) -> None:
    score = {"name": "accuracy", "value": 62.5, "signature": "n=16"}
    run.save_evaluation(
        "val", [score, {"name": "BLEU", "value": 31.0, "signature": "tok:13a", "search": "Beam(width=5)"}]
    )
    to_hub(run, tmp_path / "reviews-model")
    head, body = card(tmp_path / "reviews-model")
    assert (head["library_name"], head["pipeline_tag"]) == ("regard", "text-classification")
    result = head["model-index"][0]["results"][0]
    assert result["metrics"][0]["value"] == 62.5
    assert result["dataset"]["name"] == "reviews (val)"
    assert "| val | accuracy | 62.50 | `n=16` |" in body
    assert "| val | BLEU | 31.00 | `tok:13a`, `Beam(width=5)` |" in body
    assert "| validation | accuracy |" in body
    assert "- 2 epochs, " in body
    assert "parameters, " in body
    assert "float32 on cpu, " in body
    assert "| heads | 2 |" in body
    assert 'regard predict reviews-model "a text"' in body
    assert "somewhere-private" not in "".join(
        path.read_text(encoding="utf-8") for path in (tmp_path / "reviews-model").glob("*.[myj]*")
    )
    application, opened = open_run(tmp_path / "reviews-model")
    texts = ["a fine film", "a dull film"]
    same = [str(one) for [one] in application.load(opened).predict(texts)]
    assert same == [str(one) for [one] in load(run).predict(texts)]


def test_what_only_training_needs_stays(run: RunDirectory, tmp_path: Path) -> None:
    to_hub(run, tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    assert names == {"README.md", "config.yaml", "weights.safetensors", "tokenizer.json", "labels.json"}


def test_nothing_is_overwritten(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="exists and is not empty: choose another, for example"):
        to_hub(run, tmp_path)


def test_an_evaluation_is_kept_by_its_split(run: RunDirectory) -> None:
    for value in (1.0, 2.0):
        run.save_evaluation("test", [{"name": "accuracy", "value": value, "signature": ""}])
    run.save_evaluation("val", [{"name": "accuracy", "value": 3.0, "signature": ""}])
    found = run.read_evaluations()
    assert {split: scores[0]["value"] for split, scores in found.items()} == {"test": 2.0, "val": 3.0}
    assert json.loads((run.path / "evaluation.json").read_text())["test"][0]["value"] == 2.0
