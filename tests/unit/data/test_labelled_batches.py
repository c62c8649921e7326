"""Batches of labelled texts: every text once an epoch, within the budget, padded or packed alike."""

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.data.labelled_batches import LabelledBatches
from regard.models.tokens import END, PAD

TEXTS = [[5] * length for length in (0, 3, 7, 2, 2, 11, 1)]
LABELS = [(0,), (1,), (2,), (0,), (1,), (2,), (0,)]


def texts_of(batch) -> list[tuple[int, ...]]:
    """The texts of a batch without END, padded or packed."""
    if batch.packed:
        return [tuple(part.tolist())[:-1] for part in batch.tokens[0].split(batch.lengths.tolist())]
    return [tuple(row[: length - 1].tolist()) for row, length in zip(batch.tokens, batch.lengths, strict=True)]


@given(
    lengths=st.lists(st.integers(0, 12), min_size=1, max_size=31),
    tokens=st.integers(13, 60),
    packed=st.booleans(),
)
def test_an_epoch_has_every_text_once(lengths: list[int], tokens: int, packed: bool) -> None:
    texts = [[100 + number] * length for number, length in enumerate(lengths)]
    labels = [(number % 3,) for number in range(len(texts))]
    batches = LabelledBatches(texts, labels, tokens=tokens, seed=7, packed=packed)
    seen = []
    for batch in batches:
        assert batch.count * int(batch.lengths.max()) <= tokens
        assert batch.tokens.numel() == (int(batch.lengths.sum()) if packed else batch.count * int(batch.lengths.max()))
        seen += zip(texts_of(batch), batch.labels.tolist(), strict=True)
    expected = [(tuple(text), label) for text, (label,) in zip(texts, labels, strict=True)]
    assert sorted(seen) == sorted(expected)
    assert len(batches) == len(batches.order(3))


def test_padded_and_packed_are_the_same_batches() -> None:
    padded, packed = (LabelledBatches(TEXTS, LABELS, tokens=24, seed=3, packed=packed) for packed in (False, True))
    for one, other in zip(padded, packed, strict=True):
        assert texts_of(one) == texts_of(other)
        assert torch.equal(one.labels, other.labels)
        assert (one.tokens == END).sum() == (other.tokens == END).sum() == one.count
        assert PAD not in other.tokens


def test_several_labels_are_a_row_of_ones() -> None:
    batches = LabelledBatches([[5], [6], [7]], [(0, 2), (), (1,)], tokens=9, seed=1, classes=3)
    batch = batches.batch([0, 1, 2])
    assert batch.labels.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert batch.to("cpu").labels.dtype == torch.float32


def test_each_epoch_is_cut_anew() -> None:
    batches = LabelledBatches(TEXTS, LABELS, tokens=24, seed=3, recut=lambda epoch: [[9 + epoch]] * len(TEXTS))
    for epoch in range(2):
        assert {text for batch in batches for text in texts_of(batch)} == {(9 + epoch,)}
    assert texts_of(batches.batch([1])) == [(5, 5, 5)]


def test_a_run_goes_on_with_the_next_batch() -> None:
    batches = LabelledBatches(TEXTS, LABELS, tokens=13, seed=3)
    assert len(batches) > 3
    two = [texts_of(batch) for _ in range(2) for batch in batches]
    again = LabelledBatches(TEXTS, LABELS, tokens=13, seed=3)
    again.load_state_dict({"epoch": 1, "position": 2})
    assert [texts_of(batch) for batch in again] == two[len(batches) + 2 :]


def test_what_cannot_be_batched() -> None:
    with pytest.raises(ValueError, match="there are no texts"):
        LabelledBatches([], [], tokens=9, seed=1)
    message = "text 6 has 12 tokens, END included, which is more than the 11 of a batch: set tokens=12 or more"
    with pytest.raises(ValueError, match=re.escape(message)):
        LabelledBatches(TEXTS, LABELS, tokens=11, seed=1)
