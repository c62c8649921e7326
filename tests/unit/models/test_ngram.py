"""A language model that counts, by hand."""

import json
from pathlib import Path

import pytest
import torch

from regard.models.ngram import NGram
from regard.models.tokens import END, START

A, B, C = 4, 5, 6
TEXTS = [[A, B], [A, B], [A, C]]


@pytest.mark.parametrize("order", [1, 2, 3, 6])
@pytest.mark.parametrize("context", [[START], [START, A], [START, A, B], [START, C, C, C, B]], ids=str)
def test_every_distribution_sums_to_one(order: int, context: list[int]) -> None:
    found = NGram(TEXTS, 8, order).following(context).exp()
    assert float(found.sum()) == pytest.approx(1.0)
    assert (found > 0).all()


def test_counts_by_hand() -> None:
    """Of nine tokens three are A, two B, one C, three END: four types; behind A there are two, B twice and C once."""
    model = NGram(TEXTS, 8, 2)
    one = {A: 3, B: 2, C: 1, END: 3}
    unigram = {token: (one.get(token, 0) + 4 / 8) / (9 + 4) for token in range(8)}
    bigram = {token: ({B: 2, C: 1}.get(token, 0) + 2 * unigram[token]) / (3 + 2) for token in range(8)}
    found = model.following([START, A]).exp()
    torch.testing.assert_close(found, torch.tensor([bigram[token] for token in range(8)]))


def test_a_context_that_never_came_falls_back() -> None:
    model = NGram(TEXTS, 8, 3)
    torch.testing.assert_close(model.following([START, C, B]), model.following([A, C, B][1:]))
    assert int(model.following([START]).argmax()) == A


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    model = NGram(TEXTS, 8, 3)
    model.save(tmp_path / "language.json")
    torch.testing.assert_close(
        NGram.load(tmp_path / "language.json").following([START, A]), model.following([START, A])
    )
    (tmp_path / "language.json").write_text(json.dumps({"order": 2}))
    with pytest.raises(ValueError, match=r"language\.json is damaged"):
        NGram.load(tmp_path / "language.json")
    with pytest.raises(ValueError, match="there is no language model at"):
        NGram.load(tmp_path / "none.json")
    with pytest.raises(ValueError, match="order is 1 token or more, got 0"):
        NGram(TEXTS, 8, 0)
