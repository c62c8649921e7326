"""The commands on a model that writes nothing: labels and probabilities, metrics and pictures, no flags of search."""

import json

import pytest

TEXTS = {"a fine film": "good", "a dull film": "bad", "a warm song": "good", "a weak song": "bad"}
TINY = (
    *("--sub_words.vocabulary=60", "--model.dim=16", "--model.layers=1", "--model.heads=2", "--model.dropout=0"),
    *("--model.feed_forward=32", "--batch_tokens=128", "--training.epochs=40", "--training.learning_rate=0.01"),
    *("--training.warmup_steps=5", "--training.validate_every=40", "--training.average=0", "--training.device=cpu"),
    "--training.precision=float32",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that was trained by `regard train sentiment`."""
    from regard.cli.main import main

    folder = tmp_path_factory.mktemp("sentiment")
    for name in ("train", "val", "test"):
        (folder / f"{name}.txt").write_text("".join(f"{label} {text}\n" for text, label in TEXTS.items()))
    assert main(["train", "sentiment", "--data", str(folder), "--run", str(folder / "run"), *TINY]) == 0
    return folder / "run"


def test_predict_says_the_label_how_sure_and_the_words(regard, run):
    done = regard("predict", run, *TEXTS)
    assert (done.status, done.err) == (0, "")
    for line, (text, label) in zip(done.out.splitlines(), TEXTS.items(), strict=True):
        found, words = line.split("   ", 1)
        name, probability = found.split()
        assert name == label
        assert 0.5 <= float(probability) <= 1
        assert set(words.split(", ")) <= set(text.split())


def test_predict_for_programs(regard, run):
    rows = [json.loads(line) for line in regard("predict", run, *TEXTS, "--json").out.splitlines()]
    assert [row["input"] for row in rows] == list(TEXTS)
    for row in rows:
        (output,) = row["outputs"]
        assert output["labels"] == [TEXTS[row["input"]]]
        assert sum(output["probabilities"].values()) == pytest.approx(1, abs=1e-4)
        assert set(output["words"][0]) == {"word", "share"}


def test_evaluate_has_metrics_a_table_and_pictures(regard, run, tmp_path):
    done = regard("evaluate", run, "--pictures", tmp_path, "--output", tmp_path / "labels.txt")
    assert done.status == 0
    lines = done.out.splitlines()
    assert [line[:34].strip() for line in lines[:3]] == ["accuracy", "macro F1", "calibration error"]
    assert lines[4].split() == ["class", "precision", "recall", "F1", "texts", "found"]
    assert done.err.splitlines() == [f"wrote {tmp_path / name}.png" for name in ("calibration", "confusion")]
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "labels.txt").read_text().splitlines() == list(TEXTS.values())
    values = json.loads(regard("evaluate", run, "--json").out)
    assert values["accuracy"]["value"] == 100
    assert (run / "confusion.png").exists()


def test_look_writes_the_page(regard, run, tmp_path, monkeypatch):
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    assert regard("look", run, "a dull film", "-o", tmp_path / "page.html").status == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "attention times gradient" in page
    assert "pooling" in page


@pytest.mark.parametrize("verb", ["predict", "evaluate"])
@pytest.mark.parametrize("flags", [("--width", "3"), ("--search", "greedy"), ("--max-length", "7")])
def test_flags_of_search_are_for_models_that_write(regard, run, verb, flags):
    words = ["a film"] if verb == "predict" else []
    told = regard(verb, run, *words, *flags).told(verb)
    assert told == f"{flags[0]} is for models that write, and {run} is none: take it out"


def test_help_names_every_task(regard):
    assert (
        "Tasks: translation, summarization, sentiment, segmentation, detection, captioning, speech."
        in regard("train", "--help").out
    )
