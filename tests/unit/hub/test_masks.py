"""A mask on its way through a model is what `transformers` says of every pair, whichever way it was found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import masking_utils

from regard.attention.layouts import Dense
from regard.attention.place import Place
from regard.hub import masks
from regard.hub.told import Told

BATCH, QUERIES, KEYS = 2, 7, 11
CAUSAL, EVERY = masking_utils.causal_mask_function, masking_utils.bidirectional_mask_function

padding = st.lists(st.booleans(), min_size=BATCH * KEYS, max_size=BATCH * KEYS).map(
    lambda flags: torch.tensor(flags).view(BATCH, KEYS)
)
leaves = st.one_of(
    st.just(CAUSAL),
    st.just(EVERY),
    st.integers(1, 9).map(masking_utils.sliding_window_overlay),
    st.integers(0, 9).map(masking_utils.sliding_window_bidirectional_overlay),
    st.integers(1, 5).map(masking_utils.sliding_window_causal_mask_function),
    st.tuples(st.integers(1, 5), st.lists(st.integers(0, 4), min_size=BATCH, max_size=BATCH)).map(
        lambda drawn: masking_utils.chunked_overlay(drawn[0], torch.tensor(drawn[1]))
    ),
    padding.map(masking_utils.padding_mask_function),
)
functions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(lambda some: masking_utils.and_masks(*some)),
        st.lists(inner, min_size=1, max_size=3).map(lambda some: masking_utils.or_masks(*some)),
    ),
    max_leaves=4,
)


def expected(function, query_offset: int = 0, key_offset: int = 0, attention_mask: Tensor | None = None) -> Tensor:
    return masking_utils.sdpa_mask(
        BATCH,
        QUERIES,
        KEYS,
        query_offset,
        key_offset,
        mask_function=function,
        attention_mask=attention_mask,
        allow_is_causal_skip=False,
    )


def made(function, query_offset: int = 0, key_offset: int = 0, **options):
    return masks.mask(BATCH, QUERIES, KEYS, query_offset, key_offset, mask_function=function, **options)


@given(function=functions, query_offset=st.integers(0, 4))
@settings(deadline=None)
def test_it_is_what_transformers_says(function, query_offset):
    assert torch.equal(made(function, query_offset).dense(), expected(function, query_offset))


@given(function=functions, seen=padding, key_offset=st.integers(0, 3))
@settings(deadline=None)
def test_padding_joins_it(function, seen, key_offset):
    """Of a sliding cache, whose first keys are gone, the padding is longer than the keys."""
    long = torch.cat((torch.ones(BATCH, key_offset, dtype=torch.bool), seen), 1)
    inside = masking_utils.and_masks(CAUSAL, masking_utils.sliding_window_overlay(3))
    for one in (CAUSAL, inside):
        found = made(one, key_offset, key_offset, attention_mask=long)
        assert torch.equal(found.dense(), expected(one, key_offset, key_offset, long))


@pytest.mark.parametrize(
    "function",
    [
        CAUSAL,
        EVERY,
        masking_utils.sliding_window_causal_mask_function(3),
        masking_utils.sliding_window_bidirectional_mask_function(2),
        masking_utils.chunked_causal_mask_function(4, torch.tensor([0, 1])),
    ],
)
def test_what_transformers_makes_is_not_asked_about_pairs(function, monkeypatch):
    told = expected(function, 4)
    monkeypatch.setattr(masks, "sdpa_mask", None)
    found = made(function, 4, attention_mask=torch.ones(BATCH, KEYS, dtype=torch.bool))
    assert isinstance(found.mask, Told)
    assert torch.equal(found.dense(), told)


@pytest.mark.parametrize("pairs", [1, 50, 2**22])
def test_a_function_of_ones_own_is_asked_in_blocks(pairs, monkeypatch):
    """Two runs of keys a query are intervals; more are kept whole."""
    monkeypatch.setattr(masks, "PAIRS", pairs)

    def holed(batch, head, query, key):
        return (key != query) & (key < query + 3)

    def every_third(batch, head, query, key):
        return (query + key) % 3 == 0

    for function, kind in ((holed, Told), (every_third, Dense)):
        found = made(function, 2)
        assert type(found.mask) is kind
        assert torch.equal(found.dense(), expected(function, 2))


def test_packed_sequences_see_themselves_alone():
    position = torch.tensor([[0, 1, 2, 0, 1, 2, 3], [0, 1, 2, 3, 4, 0, 1]])
    packed = masking_utils.find_packed_sequence_indices(position)
    function = masking_utils.packed_sequence_compatibility_function(CAUSAL, position, packed)
    found = masks.mask(BATCH, QUERIES, QUERIES, mask_function=function)
    assert isinstance(found.mask, Told)
    assert torch.equal(
        found.dense(),
        masking_utils.sdpa_mask(BATCH, QUERIES, QUERIES, mask_function=function, allow_is_causal_skip=False),
    )


def test_code_that_computes_with_it_gets_its_numbers():
    found = made(CAUSAL, 4)
    whole = expected(CAUSAL, 4)
    assert (found.shape, found.dtype) == (whole.shape, torch.bool)
    assert torch.equal(found[..., :5], whole[..., :5])
    assert torch.equal(torch.where(found, 0.0, -1.0), torch.where(whole, 0.0, -1.0))
    assert torch.equal(~found & whole, torch.zeros_like(whole))
    assert isinstance(found.detach(), masks.MaskTensor)
    assert "Told(7 queries, 11 keys)" in repr(found)


def test_it_is_of_the_call_it_was_told_for():
    found = made(CAUSAL, attention_mask=torch.ones(BATCH, KEYS, dtype=torch.bool)).mask
    with pytest.raises(ValueError, match="told for 2 rows, 7 queries and 11 keys, and the call has 2, 7 and 12"):
        found.check(Place(batch=BATCH, heads=3, queries=QUERIES, keys=KEYS + 1))
