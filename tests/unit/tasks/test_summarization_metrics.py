"""The metrics of summarization: rouge-score's own numbers, and what is counted by hand."""

import pytest

from regard.tasks.summarization import metrics

DOCUMENT = "The old dog saw the cat. The cat ran away! Was it a big cat?\nIt was."
OUTPUT = "The old dog saw a bird. The cat slept."
REFERENCES = ("The dog saw the cat.", "A cat ran away from the old dog.")


def test_rouge_is_rouge_scores_own_and_the_mean_over_references() -> None:
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rouge1", "rouge2", "rougeL"], use_stemmer=True)
    each = [scorer.score(reference, OUTPUT) for reference in REFERENCES]
    found = metrics.rouge([OUTPUT], [REFERENCES])
    for kind in ("rouge1", "rouge2", "rougeL"):
        assert found[kind] == pytest.approx(100 * sum(one[kind].fmeasure for one in each) / 2)
    assert found["rouge"] == pytest.approx(sum(found[kind] for kind in ("rouge1", "rouge2", "rougeL")) / 3)
    names = {score.name: score for score in metrics.all_scores([OUTPUT], [REFERENCES], [DOCUMENT], lead=1)}
    assert names["ROUGE-1"].value == pytest.approx(found["rouge1"])
    best = 100 * max(one["rouge1"].fmeasure for one in each)
    assert names["ROUGE-1, best reference"].value == pytest.approx(best)
    lead = metrics.rouge(["The old dog saw the cat."], [REFERENCES])
    assert names["ROUGE-2 of the lead"].value == pytest.approx(lead["rouge2"])
    assert "rouge-score" in names["ROUGE-L"].signature
    assert "the first sentence of" in names["ROUGE-L of the lead"].signature


def test_one_reference_has_no_best() -> None:
    names = [score.name for score in metrics.all_scores([OUTPUT], [REFERENCES[:1]], [DOCUMENT], lead=3)]
    assert not any("best" in name for name in names)
    same = metrics.rouge([REFERENCES[0]], [REFERENCES[:1]])
    assert list(same.values()) == pytest.approx([100.0] * 4)


def test_sentences_end_at_marks_and_lines() -> None:
    found = metrics.sentences(DOCUMENT)
    assert found == ["The old dog saw the cat.", "The cat ran away!", "Was it a big cat?", "It was."]
    assert metrics.sentences(" \n ") == []
    assert metrics.first_sentences(DOCUMENT, 2) == "The old dog saw the cat. The cat ran away!"


def test_novelty_by_hand() -> None:
    """Nine words, two of them new; of eight pairs "saw a", "a bird", "bird the" and "cat slept" are."""
    assert metrics.novelty([OUTPUT], [DOCUMENT], 1) == pytest.approx(100 * 2 / 9)
    assert metrics.novelty([OUTPUT], [DOCUMENT], 2) == pytest.approx(100 * 4 / 8)
    assert metrics.novelty([""], [DOCUMENT], 1) == 0


def test_copied_spans_by_hand() -> None:
    """The spans are "the old dog saw", "a" and "the cat", seven of nine words."""
    coverage, length = metrics.copied([OUTPUT], [DOCUMENT])
    assert coverage == pytest.approx(100 * 7 / 9)
    assert length == pytest.approx(7 / 3)
    assert metrics.copied([DOCUMENT], [DOCUMENT])[0] == 100
    assert metrics.copied(["x"], [DOCUMENT]) == (0, 0)
