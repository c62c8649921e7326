"""The metrics of classification equal those of torchmetrics, and a case computed by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.tasks.sentiment import metrics


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), classes=st.integers(2, 5), texts=st.integers(1, 60))
def test_they_are_torchmetrics_own(seed: int, classes: int, texts: int) -> None:
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_confusion_matrix,
        multiclass_f1_score,
    )

    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(texts, classes, generator=generator, dtype=torch.float64)).softmax(-1)
    labels = torch.randint(classes, (texts,), generator=generator)
    found = metrics.decided(probabilities, several=False)
    true = metrics.wanted([(label,) for label in labels.tolist()], classes)
    assert metrics.accuracy(found, true) == pytest.approx(
        100 * float(multiclass_accuracy(probabilities, labels, classes, average="micro")), abs=1e-4
    )
    assert metrics.macro_f1(found, true) == pytest.approx(
        100 * float(multiclass_f1_score(probabilities, labels, classes, average="macro")), abs=1e-4
    )
    assert torch.equal(metrics.confusion(found, true), multiclass_confusion_matrix(probabilities, labels, classes))
    _, error = metrics.calibration(probabilities.amax(-1), (found & true).any(-1))
    expected = multiclass_calibration_error(probabilities, labels, classes, n_bins=metrics.BINS, norm="l1")
    assert error == pytest.approx(100 * float(expected), abs=1e-3)


def test_by_hand() -> None:
    """Three texts of class 0, one of class 1, none of 2: two right."""
    probabilities = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.5, 0.3, 0.2], [0.6, 0.4, 0.0]])
    found = metrics.evaluation(probabilities, [(0,), (0,), (0,), (1,)], ["a", "b", "c"], list("abaa"), several=False)
    values = {score.name: score.value for score in found.scores}
    assert values["accuracy"] == 50
    assert values["macro F1"] == pytest.approx((200 * 2 / 6 + 0) / 2)  # a: 2 of 3 found and 3 true; b: none; not c
    assert values["calibration error"] == pytest.approx(100 * (0.2 + 0.7 + 0.5 + 0.6) / 4)
    assert "mean of 2 classes" in str(found.scores[1])
    assert [line.split() for line in found.table.splitlines()] == [
        ["class", "precision", "recall", "F1", "texts", "found"],
        ["a", "66.67", "66.67", "66.67", "3", "3"],
        ["b", "0.00", "0.00", "0.00", "1", "1"],
        ["c", "0.00", "0.00", "0.00", "0", "0", "no", "text", "of", "it", "here"],
    ]
    assert all(picture.startswith(b"\x89PNG") for picture in found.pictures.values())


def test_several_labels() -> None:
    probabilities = torch.tensor([[0.9, 0.5, 0.1], [0.4, 0.3, 0.2]])
    found = metrics.evaluation(probabilities, [(0, 1), (2,)], ["a", "b", "c"], ["a,b", ""], several=True)
    values = {score.name: score.value for score in found.scores}
    assert values["accuracy"] == 50, "all labels of a text must be right"
    assert values["macro F1"] == pytest.approx(200 / 3)
    assert list(found.pictures) == ["calibration.png"], "texts of several labels have no matrix of confusions"
