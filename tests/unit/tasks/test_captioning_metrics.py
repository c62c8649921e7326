"""The metrics of captioning, by hand and beside what is known of them."""

import math

import pytest

from regard.tasks.captioning.metrics import ENOUGH, all_scores, bleu, by_heart, cider, distinct, rouge_l, table, words


def test_captions_are_measured_as_lower_cased_words_without_punctuation():
    assert words("A dog's ball, red-white (new) .") == "a dog's ball red white new"
    assert words("Собака бежит!") == "собака бежит"
    assert words(" . ") == ""


def test_what_is_right_is_all_right():
    outputs = ["A dog runs in the snow .", "Two cats sleep on a mat"]
    references = [("a dog runs in the snow", "a dog"), ("two cats sleep on a mat",)]
    assert bleu(outputs, references) == pytest.approx([100] * 4, abs=1e-3)
    assert rouge_l(outputs, references) == pytest.approx(100)


def test_bleu_by_hand():
    found = bleu(["a dog runs"], [("a dog sleeps here",)])
    short = math.exp(1 - 4 / 3)
    assert found[0] == pytest.approx(100 * short * 2 / 3, rel=1e-4)
    assert found[1] == pytest.approx(100 * short * (2 / 3 * 1 / 2) ** 0.5, rel=1e-4)


def test_cider_needs_many_pictures():
    few = [f"thing number {n}" for n in range(ENOUGH - 1)]
    assert math.isnan(cider(few, [(one,) for one in few]))
    many = [f"thing number {n} is here" for n in range(ENOUGH)]
    right = cider(many, [(one,) for one in many])
    wrong = cider(many, [(one,) for one in many[1:] + many[:1]])
    assert right > 3 * wrong


def test_what_was_learned_by_heart():
    outputs = ["A dog .", "a cat", "a dog"]
    assert by_heart(outputs, ["A  dog", "a cow"]) == pytest.approx(200 / 3)
    assert distinct(outputs) == pytest.approx(200 / 3)
    assert "stand among the 2 training captions: 66.7%" in table(outputs, ["A dog", "a cow"])


def test_every_score_has_its_signature():
    scores = all_scores(["a dog"], [("a dog",)])
    assert [score.name for score in scores] == ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]
    assert "pycocoevalcap" in scores[0].signature
    assert "lower-cased words, without punctuation" in scores[0].signature
    assert "left out below 100 pictures" in scores[-1].signature
