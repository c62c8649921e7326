"""Text classification, from labelled texts to labels, scores, the words that decide, and looks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tasks.quick import quick

from regard.explain import Look
from regard.explain.pieces import Piece
from regard.tasks.sentiment import Recipe, TextClassifier, load, resume, train
from regard.tasks.sentiment.recipe import Files, Model
from regard.tasks.sentiment.text_classifier import strongest
from regard.tasks.sub_words import SubWords
from regard.training import RunDirectory, TrainingOptions

TEXTS = {
    "a fine film": "positive",
    "a dull film": "negative",
    "not a fine film": "negative",
    "not a dull film": "positive",
    "the plot was warm": "positive",
    "the plot was weak": "negative",
    "the plot was not weak": "positive",
    "the plot was not warm": "negative",
    "two hours long": "neutral",
    "it runs on Sunday": "neutral",
}


def tiny(folder: Path, architecture: str = "transformer", **options) -> Recipe:
    """A recipe of a few thousand parameters."""
    settings = {
        "sub_words": SubWords(vocabulary=97),
        "model": Model(architecture=architecture, dim=32, layers=1, heads=2, feed_forward=64, hidden=32, dropout=0.0),
        "batch_tokens": 128,
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
    """Ten texts, which are training, validation and test at once."""
    path = tmp_path_factory.mktemp("texts")
    for name in ("train", "val", "test"):
        content = "".join(f"{label} {text}\n" for text, label in TEXTS.items())
        (path / f"{name}.txt").write_text(content, encoding="utf-8")
    return path


@pytest.fixture(scope="module", params=["transformer", "recurrent"])
def trained(request, folder, tmp_path_factory) -> TextClassifier:
    """A model that was trained on the ten texts until it knows them, saved and loaded."""
    with quick():
        return load(train(tiny(folder, request.param), tmp_path_factory.mktemp("runs") / "run"))


def labels(outputs) -> list[str]:
    return [found[0].label for found in outputs]


def test_ten_texts_are_learned(trained):
    found = trained.evaluate()
    assert found.outputs == list(TEXTS.values())
    assert found.scores[0].value == found.scores[1].value == 100
    assert labels(trained.predict(list(TEXTS))) == list(TEXTS.values())


def test_outputs_come_in_the_order_of_their_texts_and_say_the_same(trained):
    order = [3, 9, 0, 0, 7, 2]
    texts = [list(TEXTS)[i] for i in order]
    outputs = trained.predict(texts)
    assert labels(outputs) == [TEXTS[text] for text in texts]
    probabilities = trained.probabilities(texts)
    for (output,), row in zip(outputs, probabilities, strict=True):
        assert list(output.probabilities) == ["negative", "neutral", "positive"]
        assert list(output.probabilities.values()) == pytest.approx(row.tolist(), abs=1e-5)
        assert sum(output.probabilities.values()) == pytest.approx(1)
        assert output.record()["labels"] == [output.label]


def test_a_text_is_explained_as_it_is_alone(trained):
    texts = ["not a dull film", "two hours long", "the plot was not warm"]
    together = trained.predict(texts)
    for text, (output,) in zip(texts, together, strict=True):
        ((alone,),) = trained.predict([text])
        assert [word for word, _ in alone.words] == [word for word, _ in output.words]
        assert [share for _, share in alone.words] == pytest.approx([share for _, share in output.words], abs=1e-3)
        assert all(word in text.split() for word, _ in output.words)
        assert sum(share for _, share in output.words) <= 1 + 1e-6


@pytest.mark.parametrize("text", ["", "fine", "\u72d7 \U0001f415 \u202e", "film " * 3000, "a\nb\tc <script>"])
def test_unusual_texts(trained, text):
    ((output,),) = trained.predict([text])
    assert output.label in ("negative", "neutral", "positive")
    assert sum(output.probabilities.values()) == pytest.approx(1)
    if len(text) < 100:
        assert isinstance(trained.look(text), Look)


def test_nothing_to_classify(trained):
    assert trained.predict([]) == []
    assert trained.probabilities([]).shape == (0, 3)


def test_looking_shows_attention_beside_its_relevance(trained):
    look = trained.look("the plot was not weak")
    names = [layer.name for layer in look.layers]
    encoder = ["encoder.layers.0.attention"] if trained.recipe.model.architecture == "transformer" else []
    assert names == [*encoder, "pooling", "attention times gradient"]
    assert look.side("decision").pieces == (Piece(text="positive", starts=True, special=True),)
    assert look.side("text").pieces[-1].special
    assert [layer.queries for layer in look.layers[-2:]] == ["decision", "decision, by its gradient"]
    for layer in look.layers:
        torch.testing.assert_close(layer.pooled.sum(-1), torch.ones(layer.pooled.shape[:2]))
    plain, weighed = (look.layer(name).pooled for name in names[-2:])
    assert not torch.allclose(plain, weighed, atol=1e-3)
    assert look.score == pytest.approx(max(trained.predict(["the plot was not weak"])[0][0].probabilities.values()))


def test_inference_leaves_nothing_to_train(trained):
    state = torch.get_rng_state()
    trained.predict(["a fine film"])
    assert not trained.model.training
    assert all(parameter.grad is None for parameter in trained.model.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_several_labels(tmp_path):
    rows = {"warm and long": "long,warm", "warm": "warm", "long": "long", "neither": ""}
    for name in ("train", "val", "test"):
        content = "text,label\n" + "".join(f'{text},"{given}"\n' for text, given in rows.items())
        (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
    recipe = tiny(tmp_path, files=Files(several=True), metric="macro_f1", class_weights="balanced")
    with quick():
        classifier = load(train(recipe, tmp_path / "run"))
    assert labels(classifier.predict(list(rows))) == list(rows.values())
    assert classifier.evaluate().scores[0].value == 100
    ((output,),) = classifier.predict(["neither"])
    assert str(output).startswith("none")
    assert output.labels == ()


def test_balanced_classes_count_alike(folder, tmp_path):
    from regard.data.tokenizer import Tokenizer
    from regard.tasks.sentiment.application import read
    from regard.tasks.sentiment.text_classifier import Classification

    recipe = tiny(folder, class_weights="balanced")
    texts = read(recipe, "train")
    classes = texts.classes()
    task = Classification(recipe, Tokenizer.train(texts.texts, vocabulary=97), classes, texts, texts)
    assert task._weights.tolist() == pytest.approx([10 / 12, 10 / 6, 10 / 12])


def test_a_run_that_was_stopped_goes_on(folder, tmp_path):
    recipe = tiny(folder)
    short = replace(recipe, training=replace(recipe.training, epochs=4, validate_every=1, max_minutes=1e-9))
    with quick():
        run = train(short, tmp_path / "run")
        assert [row["epoch"] for row in run.read_metrics() if row["kind"] == "epoch"] == [1]
        config = run.config_path.read_text(encoding="utf-8").replace("max_minutes: 1.0e-09", "max_minutes: null")
        run.config_path.write_text(config, encoding="utf-8")
        resume(RunDirectory.open(tmp_path / "run"))
    assert [row["epoch"] for row in run.read_metrics() if row["kind"] == "epoch"][-1] == 4
    (steps,) = {row.get("texts_per_second", 0) > 0 for row in run.read_metrics() if row["kind"] == "step"} or {True}
    assert steps


def test_one_label_is_nothing_to_tell_apart(tmp_path):
    for name in ("train", "val"):
        (tmp_path / f"{name}.txt").write_text("x one\nx two\n", encoding="utf-8")
    with pytest.raises(ValueError, match="all 2 training texts have the label 'x': there is nothing to tell apart"):
        train(tiny(tmp_path), tmp_path / "run")
    (tmp_path / "train.txt").write_text("x one\ny two\n", encoding="utf-8")
    (tmp_path / "val.txt").write_text("x one\nz two\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"val.txt, line 2 has the label 'z', which no training text has"):
        train(tiny(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("text", "message"), [(None, "there are no labels at"), ("{", "is damaged"), ("[1]", "it must be a list of texts")]
)
def test_labels_that_are_none(folder, tmp_path, text, message):
    recipe = tiny(folder, training=TrainingOptions(epochs=1, average=0, device="cpu", precision="float32"))
    with quick():
        run = train(recipe, tmp_path / "run")
    run.labels_path.unlink()
    if text is not None:
        run.labels_path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load(run)


def pieces(*texts: str) -> list[Piece]:
    """Pieces by their texts; a space before one starts a word."""
    return [Piece(text=text.removeprefix(" "), starts=text.startswith(" ")) for text in texts]


def test_pieces_are_put_together_to_words():
    shares = [0.05, 0.05, 0.1, 0.1, 0.15, 0.04, 0.5, 0.01]
    found = strongest(pieces(" do", "n", "'", "t", ",", " go", "!"), shares)
    assert found == (("!", 0.5), ("don't", pytest.approx(0.3)), (",", 0.15))
    assert strongest([], []) == ()
    found = strongest(pieces(" ␣", "(", "a", "b", " ␣", "c"), [0.1, 0.1, 0.2, 0.1, 0.2, 0.3])
    assert found == (("c", 0.5), ("ab", pytest.approx(0.3)), ("(", 0.2))
