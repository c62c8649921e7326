"""Summarization, from documents and their summaries to summaries, scores and looks."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tasks.quick import quick

from regard.decoding import Beam
from regard.explain import Look
from regard.models.pointer import PointerTransformer
from regard.tasks.sub_words import SubWords
from regard.tasks.summarization import Recipe, Summarizer, demo, events, load, resume, train
from regard.tasks.summarization.recipe import Files, Model
from regard.training import RunDirectory, TrainingOptions

DOCUMENTS = {
    "A dog ran. It was brown.\nIt barked.": "A brown dog barked.",
    "A cat slept. It was black.\nIt purred.": "A black cat purred.",
    "A bird flew. It was white.\nIt sang.": "A white bird sang.",
    "Rain fell. It was cold.\nWe left.": "We left cold rain.",
    "Snow fell. It was deep.\nWe stayed.": "We stayed in deep snow.",
}


def tiny(folder: Path, **options) -> Recipe:
    """A recipe of a few thousand parameters."""
    settings = {
        "sub_words": SubWords(vocabulary=97),
        "model": Model(dim=32, layers=1, heads=2, feed_forward=64, dropout=0.0),
        "batch_tokens": 256,
        "label_smoothing": 0.0,
        "decoding": Beam(width=3, max_length=29),
        "training": TrainingOptions(
            epochs=80,
            learning_rate=1e-2,
            warmup_steps=10,
            validate_every=80,
            average=0,
            device="cpu",
            precision="float32",
        ),
        **options,
    }
    return Recipe(data=str(folder), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Five documents, which are training, validation and test at once; the test has two references of each."""
    path = tmp_path_factory.mktemp("documents")
    for name in ("train", "val", "test"):
        with open(path / f"{name}.jsonl", "w", encoding="utf-8") as file:
            for document, summary in DOCUMENTS.items():
                given = [summary, "Another."] if name == "test" else summary
                file.write(json.dumps({"document": document, "summary": given}) + "\n")
    return path


@pytest.fixture(scope="module", params=["copy", "plain", "window"])
def trained(request, folder, tmp_path_factory) -> Summarizer:
    """A model that was trained on the five documents until it knows them, saved and loaded."""
    model = replace(tiny(folder).model, copy=request.param != "plain", window=4 if request.param == "window" else None)
    coverage = 0.1 if request.param == "copy" else 0.0
    with quick():
        run = train(tiny(folder, model=model, coverage=coverage), tmp_path_factory.mktemp("runs") / "run")
        return load(run)


def texts(outputs) -> list[str]:
    return [found[0].text for found in outputs]


def test_five_documents_are_learned(trained):
    found = trained.evaluate()
    assert found.outputs == list(DOCUMENTS.values())
    values = {score.name: score.value for score in found.scores}
    assert values["ROUGE-1, best reference"] == values["ROUGE-L, best reference"] == 100
    assert values["ROUGE-1"] == pytest.approx(50, abs=8), "the mean over a right and a wrong reference"
    assert values["ROUGE-1 of the lead"] < values["ROUGE-1"]
    assert isinstance(trained.model, PointerTransformer) == trained.recipe.model.copy


def test_summaries_come_in_the_order_of_their_documents(trained):
    order = [3, 0, 0, 2]
    documents = list(DOCUMENTS)
    assert texts(trained.predict([documents[i] for i in order])) == [DOCUMENTS[documents[i]] for i in order]


def test_looking_shows_where_words_came_from(trained):
    document = next(iter(DOCUMENTS))
    look = trained.look(document)
    assert isinstance(look, Look)
    names = [layer.name for layer in look.layers]
    assert ("copying" in names) == trained.recipe.model.copy
    for layer in look.layers:
        torch.testing.assert_close(layer.pooled.sum(-1), torch.ones(layer.pooled.shape[:2]))
    if trained.recipe.model.copy:
        copying = look.layer("copying")
        assert (copying.queries, copying.keys) == ("output", "source")
        assert copying.entropy.shape == (1, len(look.side("output").pieces))


def test_a_document_of_any_length_up_to_the_limit(trained):
    long = "A dog ran. " * 700
    assert len(trained.predict([long])[0]) == 1
    short = Summarizer(trained.model, trained.tokenizers, replace(trained.recipe, longest=50))
    with pytest.raises(ValueError, match=r"document 2 has [\d,]+ tokens, END included, and at most 50 are read"):
        short.predict(["A dog.", long])
    with pytest.raises(ValueError, match="the document has"):
        short.look(long)


@pytest.mark.parametrize("text", ["", "dog", "\u72d7 \U0001f415 \u202e", "a\nb\tc <script>"])
def test_unusual_documents(trained, text):
    assert isinstance(trained.predict([text])[0][0].text, str)
    assert isinstance(trained.look(text), Look)


def test_length_is_controlled(trained):
    document = next(iter(DOCUMENTS))
    short, long = (
        trained.predict([document], replace(trained.recipe.decoding, **limits))[0][0].hypothesis
        for limits in ({"max_length": 3}, {"min_length": 20})
    )
    assert len(short.tokens) <= 3
    assert len(long.tokens) >= 20
    once = trained.predict([document], replace(trained.recipe.decoding, min_length=25, no_repeat_ngram=2))[0][0]
    pairs = list(zip(once.hypothesis.tokens, once.hypothesis.tokens[1:], strict=False))
    assert len(pairs) == len(set(pairs))


def test_a_run_that_was_stopped_goes_on(folder, tmp_path):
    recipe = tiny(folder)
    short = replace(recipe, training=replace(recipe.training, epochs=3, validate_every=1, max_minutes=1e-9))
    with quick():
        run = train(short, tmp_path / "run")
        config = run.config_path.read_text(encoding="utf-8").replace("max_minutes: 1.0e-09", "max_minutes: null")
        run.config_path.write_text(config, encoding="utf-8")
        resume(RunDirectory.open(tmp_path / "run"))
    rows = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert [row["epoch"] for row in rows][-1] == 3
    assert {"loss", "rouge", "rouge1", "rouge2", "rougeL"} == set(rows[-1]["metrics"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"coverage": -1.0}, "coverage is the weight of a loss, 0 or more; got -1.0"),
        ({"coverage": 1.0, "model": Model(copy=False)}, "coverage is of the attention that copies: --model.copy true"),
        ({"longest": 0}, "longest must be at least 1, got 0"),
        ({"lead": 0}, "lead must be at least 1, got 0"),
    ],
)
def test_recipes_that_make_no_sense(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        tiny(tmp_path, **options)


def test_documents_that_are_too_long_are_found_before_training(folder, tmp_path):
    with pytest.raises(ValueError, match=r"train.jsonl: document 1 has \d+ tokens, END included, and at most 5 "):
        train(tiny(folder, longest=5), tmp_path / "run")
    with pytest.raises(ValueError, match=r"\(tokens is the recipe's batch_tokens\)"):
        train(tiny(folder, batch_tokens=7), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_the_demo_in_tiny_form(tmp_path, monkeypatch, capsys):
    for split in ("validation", "test"):
        monkeypatch.setitem(events.SIZES, split, 7)
    shown = demo.write_data(tmp_path / "data", examples=97)
    assert all(line.count("  ->  ") == 1 for line in shown)
    recipe = demo.recipe(tmp_path / "data", epochs=1)
    assert recipe.files == Files(source="record", target="headline", validation="validation")
    recipe = replace(recipe, training=replace(recipe.training, device="cpu", warmup_steps=5))
    with quick():
        summarizer = load(train(recipe, tmp_path / "run"))
        demo.report(summarizer)
    printed = capsys.readouterr().out
    assert "headlines right to the letter, of 7 with names never seen:" in printed
    assert "all names right:" in printed
    for record in events.EXAMPLES:
        assert record in printed
