"""Translation, from pairs of sentences to translations, scores and looks."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.tasks.quick import quick

import regard
from regard.data.batches import TokenBatches, length_batches
from regard.data.tokenizer import Tokenizers
from regard.decoding import Beam, Greedy, Sampling, attention_of, search
from regard.explain import Look
from regard.explain import read as read_pieces
from regard.tasks import dates
from regard.tasks.evaluation import Score
from regard.tasks.translation import Recipe, Translator, demo, load, metrics, train
from regard.tasks.translation.application import read
from regard.tasks.translation.recipe import Model, SubWords
from regard.tasks.translation.translator import Translation, build
from regard.training import TrainingOptions

PAIRS = {
    "a dog runs": "ein Hund rennt",
    "a cat sleeps": "eine Katze schläft",
    "the dog sleeps": "der Hund schläft",
    "the cat runs": "die Katze rennt",
    "two dogs run": "zwei Hunde rennen",
    "two cats sleep": "zwei Katzen schlafen",
    "a man reads": "ein Mann liest",
    "a woman reads a book": "eine Frau liest ein Buch",
    "the man sees the dog": "der Mann sieht den Hund",
    "the woman sees a cat": "die Frau sieht eine Katze",
}
ARCHITECTURES = ["transformer", "recurrent", "bahdanau", "luong-general", "luong-dot"]


def tiny(folder: Path, architecture: str = "transformer", **options) -> Recipe:
    """A recipe of a few thousand parameters."""
    settings = {
        "sub_words": SubWords(vocabulary=97),
        "model": Model(
            architecture=architecture, dim=32, layers=1, heads=2, feed_forward=64, hidden=32, dropout=0.0, norm="pre"
        ),
        "batch_tokens": 128,
        "label_smoothing": 0.0,
        "metric": "exact",
        "decoding": Beam(width=3, max_length=19),
        "training": TrainingOptions(epochs=1, device="cpu", precision="float32", average=0),
        **options,
    }
    return Recipe(data=str(folder), **settings)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Ten pairs, which are training, validation and test at once."""
    path = tmp_path_factory.mktemp("pairs")
    for name in ("train", "val", "test"):
        (path / f"{name}.en").write_text("\n".join(PAIRS) + "\n", encoding="utf-8")
        (path / f"{name}.de").write_text("\n".join(PAIRS.values()) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def untrained(folder):
    """Makes a translator that has learned nothing but its vocabulary."""

    def make(architecture: str = "transformer", **options) -> Translator:
        recipe = tiny(folder, architecture, **options)
        cut = recipe.sub_words
        tokenizers = Tokenizers.train(
            list(PAIRS), list(PAIRS.values()), vocabulary=cut.vocabulary, joint=cut.joint, lowercase=cut.lowercase
        )
        return Translator(build(recipe, tokenizers), tokenizers, recipe)

    return make


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory) -> Translator:
    """A Transformer that was trained on the ten pairs until it knows them, saved and loaded."""
    options = TrainingOptions(
        epochs=60, learning_rate=1e-2, warmup_steps=10, schedule="cosine", validate_every=60, average=0, device="cpu"
    )
    with quick():
        return load(train(tiny(folder, training=options), tmp_path_factory.mktemp("runs") / "run"))


def texts(outputs) -> list[str]:
    return [found[0].text for found in outputs]


def test_ten_pairs_are_learned(trained):
    found = trained.evaluate()
    assert found.outputs == list(PAIRS.values())
    assert {score.name: score.value for score in found.scores} == pytest.approx(
        {
            "BLEU": 100.0,
            "BLEU, lower-cased": 100.0,
            "BLEU, lower-cased, Moses-tokenised": 100.0,
            "chrF": 100.0,
            "exact match": 100.0,
        }
    )


def test_translations_come_in_the_order_of_their_sources(trained):
    order = [3, 9, 0, 0, 7, 2]
    sources, targets = list(PAIRS), list(PAIRS.values())
    assert texts(trained.predict([sources[i] for i in order])) == [targets[i] for i in order]


@pytest.mark.parametrize("options", [None, Greedy(max_length=19), Beam(width=2), Sampling(seed=3, top_k=1)])
def test_every_search_finds_what_was_learned(trained, options):
    assert texts(trained.predict(list(PAIRS), options)) == list(PAIRS.values())


def test_several_translations_of_each(trained):
    for options, count in ((Beam(width=5, n_best=3), 3), (Sampling(samples=4), 4)):
        for found in trained.predict(list(PAIRS)[:3], options):
            assert len(found) == count
            scores = [output.hypothesis.score for output in found]
            assert scores == sorted(scores, reverse=True)


def test_nothing_to_translate(trained):
    assert trained.predict([]) == []


def test_an_empty_text_has_a_translation_too_and_disturbs_no_other(trained):
    sources = ["a dog runs", "", "the cat runs"]
    found = trained.predict(sources)
    assert [len(outputs) for outputs in found] == [1, 1, 1]
    assert texts(found)[::2] == [PAIRS[source] for source in sources[::2]]
    assert isinstance(trained.look(""), Look)


def test_characters_that_were_never_seen(trained):
    (found,) = trained.predict(["a dog runs 狗 🐕"])
    assert isinstance(found[0].text, str)
    assert trained.look("狗").side("source").pieces[-1].text == "END"


@pytest.mark.parametrize("architecture", [name for name in ARCHITECTURES if name != "recurrent"])
def test_looking_shows_who_attended_to_whom(untrained, architecture):
    translator = untrained(architecture)
    look = translator.look("a dog runs")
    (output,) = translator.predict(["a dog runs"])
    hypothesis = output[0].hypothesis
    pieces = read_pieces(translator.tokenizers.target.tokens(hypothesis.tokens))
    assert [p.text for p in look.side("output").pieces[: len(pieces)]] == [p.text for p in pieces]
    assert len(look.side("output").pieces) == len(pieces) + hypothesis.finished
    assert look.side("source").pieces[-1].special
    assert look.score == pytest.approx(hypothesis.score)
    assert look.title == "a dog runs"
    expected = {
        "encoder.layers.0.attention": ("source", "source"),
        "decoder.layers.0.attention": ("output", "so far"),
        "decoder.layers.0.cross": ("output", "source"),
    }
    if architecture != "transformer":
        expected = {"the decoder": ("output", "source")}
    assert {layer.name: (layer.queries, layer.keys) for layer in look.layers} == expected
    for layer in look.layers:
        assert layer.complete
        torch.testing.assert_close(layer.pooled.sum(-1), torch.ones(layer.pooled.shape[:2]))
    if architecture == "transformer":
        assert [piece.text for piece in look.side("so far").pieces[:1]] == ["START"]
        assert look.side("so far").pieces[1:] == look.side("output").pieces[:-1]


@pytest.mark.parametrize("architecture", ["transformer", "luong-dot"])
def test_a_look_is_what_the_search_attended_to(untrained, architecture):
    """Read in one go, or step by step as it was written: the same weights."""
    translator = untrained(architecture)
    look = translator.look("a dog runs")
    source = translator.tokenizers.source.encode(["a dog runs"])[0]
    batch = next(iter(length_batches([source], tokens=99)))
    with regard.watch(translator.model, regard.Weights()) as seen:
        options = replace(translator.recipe.decoding, n_best=1)
        hypothesis = search(translator.model, batch.source, batch.source_lengths, options)[0][0]
    name = "decoder.layers.0.cross" if architecture == "transformer" else ""
    expected = attention_of(hypothesis, [call.weights for call in seen.calls(name)])
    torch.testing.assert_close(look.layers[-1].pooled, expected, atol=1e-5, rtol=1e-4)


def test_there_is_nothing_to_look_at_without_attention(untrained):
    with pytest.raises(ValueError, match="a recurrent model has no attention to look at"):
        untrained("recurrent").look("a dog runs")


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("joint", [True, False])
def test_every_architecture_is_built_for_its_vocabularies(untrained, architecture, joint):
    translator = untrained(architecture, sub_words=SubWords(vocabulary=60, joint=joint))
    tokenizers = translator.tokenizers
    assert tokenizers.joint == joint
    assert len(translator.model.output_weight) == len(tokenizers.target)
    assert len(translator.predict(list(PAIRS))) == len(PAIRS)


def test_lower_casing(untrained):
    translator = untrained(sub_words=SubWords(vocabulary=97, lowercase=True))
    first, second = translator.predict(["A DOG runs", "a dog runs"])
    assert first[0].text == second[0].text == second[0].text.lower()


def test_inference_leaves_nothing_to_train(trained):
    state = torch.get_rng_state()
    trained.predict(["a dog runs"])
    assert not trained.model.training
    assert torch.equal(torch.get_rng_state(), state)


OUTPUTS = ["Ein Hund rennt, schnell.", "Die Katze schläft auf der alten Matte.", "Das ist's!"]
REFERENCES = ["ein Hund rennt schnell.", "Die Katze schläft auf der Matte.", "Das ist es!"]


def test_scores_are_sacrebleus_own():
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF

    scores = {score.name: score for score in metrics.all_scores(OUTPUTS, REFERENCES, language="de")}
    for name, metric, marks in (
        ("BLEU", BLEU(), ["case:mixed", "tok:13a", "nrefs:1"]),
        ("BLEU, lower-cased", BLEU(lowercase=True), ["case:lc", "tok:13a"]),
        ("chrF", CHRF(), ["nc:6", "nw:0"]),
    ):
        assert scores[name].value == metric.corpus_score(OUTPUTS, [REFERENCES]).score
        assert scores[name].signature == str(metric.get_signature())
        for mark in [*marks, "version:"]:
            assert mark in scores[name].signature
    assert scores["BLEU"].value < scores["BLEU, lower-cased"].value, "one word differs in its case alone"
    assert metrics.bleu(OUTPUTS, REFERENCES) == scores["BLEU"].value
    assert metrics.chrf(OUTPUTS, REFERENCES) == scores["chrF"].value


def test_the_published_protocol_is_bleu_on_moses_tokens_by_hand():
    from sacrebleu.metrics.bleu import BLEU

    outputs = ["ein hund rennt , schnell .", "die katze schläft auf der alten matte .", "das ist ' s !"]
    references = ["ein hund rennt schnell .", "die katze schläft auf der matte .", "das ist es !"]
    by_hand = BLEU(tokenize="none", force=True).corpus_score(outputs, [references]).score
    scores = {score.name: score for score in metrics.all_scores(OUTPUTS, REFERENCES, language="de")}
    found = scores["BLEU, lower-cased, Moses-tokenised"]
    assert found.value == pytest.approx(by_hand)
    assert "tok:none" in found.signature


def test_quotation_marks_are_normalised_and_nothing_is_escaped():
    """Moses' normalizer makes one of „...“ and "...", and an ampersand stays one token."""
    scores = metrics.all_scores(
        ["„Hund & Katze“ sind zwei gute Freunde ."], ['"Hund & Katze" sind zwei gute Freunde.'], language="de"
    )
    values = {score.name: score.value for score in scores}
    assert values["BLEU, lower-cased, Moses-tokenised"] == pytest.approx(100)
    assert values["BLEU"] < 99


def test_exact_match_counts_whole_outputs():
    assert metrics.exact(OUTPUTS, REFERENCES) == 0
    assert metrics.exact(["a", "b", "c"], ["a", "B", "c"]) == pytest.approx(200 / 3)
    assert metrics.exact([], []) == 0
    with pytest.raises(ValueError, match="argument 2 is shorter"):
        metrics.exact(["a", "b"], ["a"])


def test_a_score_says_its_name_value_and_signature():
    assert str(Score(name="BLEU", value=41.0234, signature="tok:13a")).split() == ["BLEU", "41.02", "tok:13a"]


def test_the_dates_of_the_demo_in_tiny_form(tmp_path, monkeypatch):
    for split in ("validation", "test"):
        monkeypatch.setitem(dates.SIZES, split, 11)
    data = tmp_path / "dates"
    demo.write_data(data, examples=307)
    for name, count in (("train", 307), ("validation", 11), ("test", 11)):
        for ending in ("text", "iso"):
            assert len((data / f"{name}.{ending}").read_text(encoding="utf-8").splitlines()) == count
    recipe = demo.recipe(data, epochs=2)
    small = replace(recipe, training=replace(recipe.training, device="cpu", validate_every=2, warmup_steps=5))
    with quick():
        run = train(small, tmp_path / "run")
    epochs = [row for row in run.read_metrics() if row["kind"] == "epoch"]
    assert epochs[1]["loss"] < epochs[0]["loss"]
    assert len(load(run).evaluate().outputs) == 11


def test_a_device_that_is_not_there_is_found_before_anything_is_made(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    options = TrainingOptions(device="cuda")
    with pytest.raises(ValueError, match="torch finds no GPU here"):
        train(tiny(folder, training=options), tmp_path / "runs" / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_fails_before_its_first_step_leaves_nothing(folder, tmp_path, monkeypatch):
    def fails(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr("regard.tasks.application.fit", fails)
    with pytest.raises(OSError, match="the disk is full"):
        train(tiny(folder), tmp_path / "runs" / "run")
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.requires("native")
def test_training_packs_where_native_runs(folder, monkeypatch):
    seen = []
    real = TokenBatches.batch
    monkeypatch.setattr(TokenBatches, "batch", lambda self, pairs: seen.append(real(self, pairs)) or seen[-1])
    for architecture, packed in (("transformer", True), ("bahdanau", False)):
        seen.clear()
        recipe = tiny(folder, architecture)
        pairs = read(recipe, "train")
        tokenizers = Tokenizers.train(pairs.sources, pairs.targets, vocabulary=97, joint=True)
        task = Translation(recipe, tokenizers, pairs, pairs)
        with torch.no_grad():
            task.validate()
        next(iter(task.batches))
        assert seen
        assert all((batch.target_lengths is not None) is packed for batch in seen)
