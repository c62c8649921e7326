"""The commands on documents: a file may be one of them, and their outputs are lines."""

import json

import pytest

from regard.cli.main import main

TINY = (
    *("--sub_words.vocabulary=60", "--model.dim=16", "--model.layers=1", "--model.heads=2", "--model.dropout=0"),
    *("--model.feed_forward=32", "--batch_tokens=128", "--training.epochs=1", "--training.average=0"),
    *("--training.device=cpu", "--training.precision=float32", "--decoding.max_length=9", "--decoding.width=2"),
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was trained by `regard train summarization`."""
    folder = tmp_path_factory.mktemp("summarization")
    for name in ("train", "val", "test"):
        rows = ["document,summary", '"A dog ran.\nIt was brown.",A brown dog ran.', '"A cat, black.",A black cat.']
        (folder / f"{name}.csv").write_text("\n".join(rows) + "\n")
    assert main(["train", "summarization", "--data", str(folder), "--run", str(folder / "run"), *TINY]) == 0
    return folder / "run"


def test_a_whole_file_is_a_document(regard, run, tmp_path):
    (tmp_path / "document.txt").write_text("A dog ran.\n\nIt was brown.\n")
    whole = regard("predict", run, "--file", tmp_path / "document.txt", "--whole", "--json")
    assert whole.status == 0, whole.err
    (row,) = [json.loads(line) for line in whole.out.splitlines()]
    assert row["input"] == "A dog ran.\n\nIt was brown."
    assert regard("predict", run, "A dog ran.\n\nIt was brown.", "--json").out == whole.out
    told = regard("predict", run, "--file", tmp_path / "document.txt").told("predict")
    assert "line 2 is empty" in told


def test_evaluate_has_the_lead_beside_the_model(regard, run, tmp_path):
    done = regard("evaluate", run, "--output", tmp_path / "summaries.txt", "--max-length", 5)
    assert done.status == 0, done.err
    names = [line[:34].strip() for line in done.out.splitlines()]
    assert names[:4] == ["ROUGE-1", "ROUGE-2", "ROUGE-L", "ROUGE-Lsum"]
    assert {"ROUGE-1 of the lead", "new 2-grams", "words in copied spans", "length of outputs"} <= set(names)
    assert len((tmp_path / "summaries.txt").read_text().splitlines()) == 2


def test_look_shows_the_copying(regard, run, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    assert regard("look", run, "A dog ran.", "-o", tmp_path / "page.html").status == 0
    assert "copying" in (tmp_path / "page.html").read_text(encoding="utf-8")
