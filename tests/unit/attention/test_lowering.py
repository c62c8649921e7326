"""Lowered masks: kept where they are the same, made anew where they are not, the definition beyond two intervals."""

import pytest
import torch

import regard
from regard.attention.lowering import KEPT_FORMS, lower_mask
from regard.attention.place import Place

SIZES = {"batch": 2, "heads": 3, "queries": 5, "keys": 7}


def test_a_shared_mask_is_lowered_once() -> None:
    mask = regard.Causal() & regard.Lengths([7, 3])
    assert lower_mask(mask, Place(**SIZES)) is lower_mask(mask, Place(**SIZES))


@pytest.mark.parametrize(
    "other",
    [
        {"batch": 1},
        {"heads": 2},
        {"queries": 3},
        {"keys": 11},
        {"offset": 2},
        {"device": torch.device("meta")},
    ],
    ids=str,
)
def test_another_place_is_lowered_anew(other: dict) -> None:
    mask = regard.Causal()
    first = lower_mask(mask, Place(**SIZES))
    place = Place(**{**SIZES, **other})
    second = lower_mask(mask, place)
    assert second is not first
    assert second.bounds.device == place.device
    fresh = lower_mask(regard.Causal(), place)
    assert second.bounds.shape == fresh.bounds.shape
    assert place.device.type == "meta" or torch.equal(second.allowed, fresh.allowed)
    assert lower_mask(mask, Place(**SIZES)) is first


def test_offsets_of_rows_are_never_mistaken() -> None:
    """A tensor can be written to, so that nothing is kept for it."""
    mask, offset = regard.Causal(), torch.tensor([0, 2])
    first = lower_mask(mask, Place(**SIZES, offset=offset)).allowed.clone()
    offset += 1
    second = lower_mask(mask, Place(**SIZES, offset=offset)).allowed
    assert torch.equal(second[..., 1:], first[..., :-1])
    assert bool(second[..., 0].all())


def test_only_a_few_forms_are_kept() -> None:
    mask = regard.Causal()
    for queries in range(1, 20):
        lower_mask(mask, Place(**{**SIZES, "queries": queries}))
    assert len(mask.__dict__["_lowered"]) == KEPT_FORMS


def test_dense_forms_are_not_kept() -> None:
    mask = regard.Dense(torch.rand(5, 7) < 0.5) & regard.Causal()
    assert lower_mask(mask, Place(**SIZES)) is not lower_mask(mask, Place(**SIZES))


def test_lengths_are_a_value() -> None:
    """Writing to the tensor that a mask was made of does not reach the mask."""
    lengths = torch.tensor([7, 3])
    masks = [regard.Lengths(lengths), regard.Documents(lengths)]
    lengths.zero_()
    assert [mask.lengths.flatten().tolist() for mask in masks] == [[7, 3], [7, 3]]


def test_a_mask_first_used_for_inference_can_train() -> None:
    mask = regard.Window(1)
    query, key, value = torch.randn(3, 2, 3, 5, 7)
    for backend in ("reference", "sdpa", "streamed"):
        with torch.inference_mode():
            expected = regard.attend(query, key, value, mask=mask, backend=backend)
        context = regard.attend(query.requires_grad_(), key, value, mask=mask, backend=backend)
        context.sum().backward()
        assert torch.equal(context, expected)


@pytest.mark.parametrize(
    ("mask", "form", "share"),
    [
        (regard.Causal(), "1 interval", "43%"),
        (regard.Window(1) & regard.Causal() | regard.Prefix(1), "2 intervals", "34%"),
        (~(regard.Window(0) | regard.Lengths([1, 1], start=[5, 5])), "no intervals", "71%"),
        (regard.Dense(torch.ones(1, 1, dtype=torch.bool)), "no intervals", "100%"),
    ],
    ids=["one", "two", "three", "any"],
)
def test_description(mask: regard.Mask, form: str, share: str) -> None:
    text = lower_mask(mask, Place(**SIZES)).describe()
    assert text.startswith(form)
    assert share in text


def test_everything() -> None:
    place = Place(**SIZES)
    assert lower_mask(regard.Prefix(7), place).everything
    assert lower_mask(regard.Causal() | ~regard.Causal(), place).everything
    assert lower_mask(regard.Dense(torch.ones(5, 7, dtype=torch.bool)), place).everything
    assert not lower_mask(regard.Prefix(6), place).everything


def test_seen_joins_the_heads_that_share_a_key() -> None:
    allowed = torch.zeros(1, 4, 5, 7, dtype=torch.bool)
    allowed[0, 0, 3, 2] = allowed[0, 3, 1, 5] = True
    lowered = lower_mask(regard.Dense(allowed), Place(batch=1, heads=4, queries=5, keys=7))
    assert lowered.seen(2)[0, :, :, 0].nonzero().tolist() == [[0, 2], [1, 5]]
    one = lower_mask(regard.Prefix(2), Place(batch=1, heads=4, queries=5, keys=7))
    assert one.seen(2).shape == (1, 1, 7, 1)
