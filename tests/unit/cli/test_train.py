"""`regard train`: from a folder of one's own files to a run directory, or to one line that says why not."""

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml
from safetensors.torch import load_file

from regard import __version__
from regard.cli.main import main
from regard.cli.train import free_path
from regard.tasks.translation import Recipe
from regard.training.recipe import recipe_of

PNG = b"\x89PNG\r\n\x1a\n"


def test_a_run_directory_holds_all_of_the_run(model, data):
    evaluated = {"evaluation.json"}  # what other tests of this run find
    assert {path.name for path in model.iterdir()} - evaluated == {
        *("config.yaml", "weights.safetensors", "tokenizer.json", "metrics.jsonl", "train.log"),
        *("loss.png", "metric.png", "resume.ckpt", "epochs"),
    }
    for name in ("loss.png", "metric.png"):
        assert (model / name).read_bytes().startswith(PNG)
    assert [path.name for path in sorted((model / "epochs").iterdir())] == [
        "epoch-001.safetensors",
        "epoch-002.safetensors",
    ]


def test_its_configuration_is_resolved(model, data):
    config = yaml.safe_load((model / "config.yaml").read_text(encoding="utf-8"))
    head = {name: config.pop(name) for name in ("regard", "version", "task")}
    assert head == {"regard": __version__, "version": 1, "task": "translation"}
    recipe = recipe_of(Recipe, config, "config.yaml")
    assert (recipe.data, recipe.model.dim, recipe.training.epochs) == (str(data), 16, 2)
    assert config["model"]["activation"] == "relu", "what was not said stands there too"


def test_its_metrics_are_lines_of_json(model):
    rows = [json.loads(line) for line in (model / "metrics.jsonl").read_text().splitlines()]
    assert [row["kind"] for row in rows if row["kind"] != "step"] == ["epoch", "epoch", "final"]
    assert {row["step"] for row in rows if row["kind"] == "step"} == set(range(1, rows[-1]["step"] + 1))
    assert set(rows[-1]["metrics"]) == {"loss", "bleu"}


def test_it_says_how_it_went_and_what_comes_next(finished):
    path, done = finished
    lines = done.err.splitlines()
    assert done.out == "", "what is printed there belongs to other programs"
    assert "parameters" in lines[0]
    assert "epoch 2/2" in done.err
    assert "final weights: " in lines[-2]
    assert lines[-1] == f"the run is in {path}; next: regard evaluate {path}"


def test_a_recipe_and_flags_that_win(regard, data, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("model:\n  dim: 8\n  positions: rotary\ntraining:\n  epochs: 7\n")
    flags = [flag for flag in tiny if "model.dim" not in flag]
    words = ("train", "translation", "--config", "mine.yaml", "--data", data, *flags, "--training.epochs", "1")
    done = regard(*words)
    assert done.status == 0, done.err
    config = yaml.safe_load(Path("runs/translation/config.yaml").read_text(encoding="utf-8"))
    assert (config["model"]["dim"], config["model"]["positions"], config["training"]["epochs"]) == (8, "rotary", 1)
    assert load_file("runs/translation/weights.safetensors")
    assert "the run is in runs/translation; next: regard evaluate runs/translation" in done.err


def test_a_place_that_is_free(tmp_path):
    path = tmp_path / "runs" / "translation"
    assert free_path(path) == path
    path.mkdir(parents=True)
    path.with_name("translation-2").mkdir()
    assert free_path(path) == tmp_path / "runs" / "translation-3"


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_usage(regard, words):
    done = regard("train", *words)
    assert done.status == 0
    assert done.out.startswith("usage: regard train TASK --data DIR")
    assert "Tasks: translation" in done.out


def test_help_of_a_task(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "translation", "--help"])
    assert stop.value.code == 0
    out = capsys.readouterr().out
    assert out.index("--config FILE") < out.index("--model.dim DIM")
    assert "Width of embeddings" in out


def lines(path: Path, *, but: dict[int, str]) -> None:
    """Rewrites some lines of a file, counted from 1."""
    found = path.read_text(encoding="utf-8").splitlines()
    for number, text in but.items():
        found[number - 1] = text
    path.write_text("".join(f"{line}\n" for line in found), encoding="utf-8")


def one_line_too_many(folder: Path) -> None:
    with open(folder / "train.de", "a", encoding="utf-8") as file:
        file.write("noch eine\n")


def to_table(folder: Path, *columns: str) -> None:
    pairs = zip(*((folder / f"train.{ending}").read_text().splitlines() for ending in ("en", "de")), strict=True)
    (folder / "train.tsv").write_text("\n".join("\t".join(row) for row in [columns, *pairs]) + "\n")
    for ending in ("en", "de"):
        (folder / f"train.{ending}").unlink()


SPOILT = {
    "unequal numbers of lines": (
        one_line_too_many,
        r"train\.en has 24 lines, but .*train\.de has 25: line N of the one must be the translation of line N",
    ),
    "an empty line": (lambda d: lines(d / "train.en", but={7: " "}), r"train\.en, line 7 is empty; every line must"),
    "broken UTF-8": (
        lambda d: (d / "val.de").write_bytes(b"eins\nzw\xf6lf\n"),
        r"val\.de, line 2, byte 7 of the file is not UTF-8: .*iconv -f LATIN1 -t UTF-8",
    ),
    "an empty file": (lambda d: (d / "train.en").write_bytes(b""), r"train\.en is empty"),
    "a missing file": (
        lambda d: (d / "train.de").unlink(),
        r"has train\.en but no train\.de\. The folder holds test\.de",
    ),
    "another name": (
        lambda d: [(d / f"val.{x}").rename(d / f"valid.{x}") for x in ("en", "de")],
        r"has no 'val': looked for val\.en with val\.de, .*did you mean valid\.en, valid\.de\?",
    ),
    "a missing column": (
        lambda d: to_table(d, "en", "deu"),
        r"train\.tsv has no column 'de'; its first line names the columns en, deu; did you mean 'deu'\?",
    ),
    "no folder": (shutil.rmtree, r"data is not a folder"),
    "a folder that is a file": (lambda d: [shutil.rmtree(d), d.touch()], r"data is not a folder"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_bad_data_is_one_clear_error_and_leaves_nothing(regard, data, tmp_path, tiny, name):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    spoil, message = SPOILT[name]
    spoil(folder)
    done = regard("train", "translation", "--data", folder, "--run", tmp_path / "run", *tiny)
    assert re.search(message, done.told("train"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--model.dmi=16"], "unknown flag --model.dmi; did you mean --model.dim?"),
        (["--model.dim=wide"], "\"model.dim\": Expected a <class 'int'>. Got value: wide"),
        (["--model.architecture=lstm"], "Got value: lstm"),
        (["--model.heads=3"], "dim (16) must be a multiple of heads (3)"),
        (["--model.dropout=1.5"], "dropout is a probability, 0 <= p < 1; got 1.5"),
        (["--sub_words.vocabulary=9"], "vocabulary=9 has no room for the "),
        (["--batch_tokens=3"], "train.en: pair "),
        (["--batch_tokens=3"], "is more than the 3 of a batch: set tokens="),
        (["--training.epochs=0"], "training option epochs is 0, and has to be at least 1"),
        (["--training.device=cuda"], "device is cuda, but torch finds no GPU here: --training.device cpu"),
        (["--decoding.width=0"], "width=0: expected 1 or more"),
        (["--files.target=en"], "source and target are both 'en': name the two languages"),
        (["--config", "none.yaml"], "there is no recipe none.yaml"),
        (["--config", "."], ". is not a run directory: it has no config.yaml"),
    ],
)
def test_bad_options_are_one_clear_error_and_leave_nothing(regard, data, tmp_path, tiny, words, message, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    done = regard("train", "translation", "--data", data, "--run", tmp_path / "run", *tiny, *words)
    assert message in done.told("train")
    assert list(tmp_path.iterdir()) == []


def test_data_that_nobody_named(regard):
    assert regard("train", "translation").told("train") == "data is missing: give it as --data DATA"


def test_a_task_that_is_not_there(regard):
    assert regard("train", "cooking").told("train") == (
        "there is no task 'cooking'; the tasks are: translation, summarization, sentiment, "
        "segmentation, detection, captioning, speech"
    )


def test_a_run_that_is_there_is_left_as_it_is(regard, data, copied, tiny):
    def contents() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in copied.rglob("*") if path.is_file()}

    before = contents()
    done = regard("train", "translation", "--data", data, "--run", copied, *tiny)
    told = done.told("train")
    assert f"{copied} exists and is not empty (continue it with: regard resume {copied})" in told
    assert contents() == before


def test_a_run_may_not_be_a_file(regard, data, tmp_path, tiny):
    (tmp_path / "run").write_text("mine")
    done = regard("train", "translation", "--data", data, "--run", tmp_path / "run", *tiny)
    assert "run is a file, and a run is a folder: choose another" in done.told("train")
    assert (tmp_path / "run").read_text() == "mine"


def test_a_loss_that_is_no_number_is_told_with_a_remedy(regard, data, tmp_path, tiny):
    words = ("--training.learning_rate=1e30", "--training.clip=0", "--training.warmup_steps=0")
    done = regard("train", "translation", "--data", data, "--run", tmp_path / "run", *tiny, *words)
    assert done.status == 1
    assert "Train anew with a smaller one, for example --training.learning_rate 5e+29" in done.err.splitlines()[-1]
    assert "Traceback" not in done.err


def test_a_batch_in_parts_is_the_batch(regard, data, tmp_path, tiny, monkeypatch):
    """The gradient is that of the whole batch, whose loss is the mean over its tokens, however they are shared out."""
    monkeypatch.setattr("regard.training.plots._save", lambda *arguments: None)
    steps = {}
    for parts in (1, 3, 99):
        run = tmp_path / str(parts)
        flags = ("--model.dropout=0", f"--training.accumulate={parts}")
        assert regard("train", "translation", "--data", data, "--run", run, *tiny, *flags).status == 0
        rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        steps[parts] = [(row["loss"], row["gradient_norm"]) for row in rows if row["kind"] == "step"]
    assert len(steps[1]) == 6
    for parts in (3, 99):
        for found, expected in zip(steps[parts], steps[1], strict=True):
            assert found == pytest.approx(expected, rel=2e-5)
