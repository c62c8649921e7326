"""The text tasks beginning with a pretrained model, by the same commands into the same run; or running one as it is."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import transformers as hf
from tests.tasks.quick import quick
from tests.unit.hub.saved import saved
from tests.unit.hub.test_pretrained import encoder_folder

from regard.cli.main import main

QUICK = ("--training.epochs=2", "--training.average=0", "--training.device=cpu", "--training.precision=float32")
SHORT = ("--decoding.max_length=7", "--decoding.width=2")


@pytest.fixture(autouse=True)
def quickly(monkeypatch) -> Iterator[None]:
    monkeypatch.setattr("regard.cli.look.draw", lambda look, path: path.touch())
    with quick():
        yield


@pytest.fixture
def run(capsys):
    """Runs `regard WORDS...`, which must succeed; what it printed."""

    def command(*words: object) -> str:
        capsys.readouterr()
        status = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert status == 0, captured.err
        return captured.out

    return command


@pytest.fixture
def failing(capsys):
    """Runs `regard WORDS...`, which must fail; its one line."""

    def command(*words: object) -> str:
        capsys.readouterr()
        assert main([str(word) for word in words]) == 1
        return capsys.readouterr().err

    return command


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """Pairs, documents and labelled texts of a few words."""
    folder = tmp_path_factory.mktemp("data")
    rows = [("the dog sees it .", "it sees the dog .", "good"), ("nobody runs", "runs nobody", "bad")] * 4
    for name in ("train", "val", "test"):
        with open(folder / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for one, other, label in rows:
                file.write(json.dumps({"en": one, "de": other, "label": label}) + "\n")
    return folder


@pytest.mark.parametrize(
    ("task", "name", "flags"),
    [
        ("translation", "bart", ("--files.source=en", "--files.target=de")),
        ("summarization", "t5", ("--files.source=en", "--files.target=de")),
    ],
)
def test_an_encoder_decoder_is_trained_on(run, failing, data, tmp_path, task, name, flags):
    source = saved(name, tmp_path / "pretrained")
    path = tmp_path / "run"
    run("train", task, "--data", data, "--from", f"hf:{source}", "--run", path, *flags, *QUICK, *SHORT)
    assert {"config.json", "tokenizer.json"} <= {each.name for each in (path / "pretrained").iterdir()}
    assert not (path / "tokenizer.json").exists()
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "epoch"]
    assert losses[-1] < losses[0]
    for file in source.iterdir():  # the run needs it no longer
        file.unlink()
    out = run("predict", path, "the dog sees it .", "nobody", "--json")
    assert [json.loads(line)["input"] for line in out.splitlines()] == ["the dog sees it .", "nobody"]
    assert json.loads(run("evaluate", path, "--json"))
    run("look", path, "the dog sees it .", "-o", tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "encoder_attn" in page or "EncDecAttention" in page
    assert "--task is for models of transformers" in failing("predict", path, "a", "--task", task)


def test_an_encoder_is_trained_on(run, data, tmp_path):
    source = encoder_folder(tmp_path / "pretrained")
    path = tmp_path / "run"
    words = ("train", "sentiment", "--data", data, "--from", f"hf:{source}", "--run", path, "--files.text=en")
    run(*words, *QUICK, "--training.learning_rate=1e-2")
    out = run("predict", path, "the dog sees it .", "nobody", "--json")
    for line in out.splitlines():
        (output,) = json.loads(line)["outputs"]
        assert output["labels"][0] in ("good", "bad")
    assert json.loads(run("evaluate", path, "--json"))["accuracy"]["value"] >= 50
    run("resume", path)
    run("look", path, "the dog", "-o", tmp_path / "page.html")
    assert "attention times gradient" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_one_as_it_is(run, failing, data, tmp_path):
    writer = saved("bart", tmp_path / "writer")
    classes = {0: "bad", 1: "good"}
    judge = encoder_folder(tmp_path / "judge", hf.BertForSequenceClassification, id2label=classes)
    for task in ("translation", "summarization"):
        out = run("predict", f"hf:{writer}", "the dog", "nobody", "--task", task, "--max-length", 5)
        assert len(out.splitlines()) == 2
    found = run("predict", f"hf:{judge}", "the dog sees it .", "--task", "sentiment", "--json")
    assert json.loads(found)["outputs"][0]["labels"][0] in ("good", "bad")
    assert "may do several tasks: add --task, one of translation" in failing("predict", f"hf:{writer}", "a")
    assert "there is no task 'cooking'" in failing("predict", f"hf:{writer}", "a", "--task", "cooking")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--from", "none"), "a pretrained model is named hf:ID or hf:FOLDER, got 'none': try hf:none"),
        (("--from", "hf:"), "a pretrained model is named hf:ID or hf:FOLDER"),
        (("--from", "hf:{folder}", "--sub_words.dropout=0.1"), "a pretrained tokenizer cuts words one way"),
    ],
)
def test_what_cannot_be_begun_with(failing, data, tmp_path, flags, message):
    folder = saved("bart", tmp_path / "pretrained")
    words = [flag.format(folder=folder) for flag in flags]
    told = failing("train", "translation", "--data", data, "--run", tmp_path / "run", *words)
    assert message in told
    assert not (tmp_path / "run").exists()
