"""Masks: the definition, the intervals and the meaning agree; masking a key is not having it; packing is padding."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.laws.scenes import Packing, Scene, expressions, few, scenes
from torch import Tensor

import regard
from regard.attention import intervals as sets
from regard.attention.call import checked_call
from regard.attention.lowering import MOST_INTERVALS, lower_mask

SCENE = Scene(batch=2, heads=3, queries=5, keys=7)


def tensors(scene: Scene, width: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    """Query, key and value of a scene, in float64."""
    query = torch.randn(scene.batch, scene.heads, scene.queries, width, dtype=torch.float64)
    key, value = torch.randn(2, scene.batch, scene.heads, scene.keys, width, dtype=torch.float64)
    return query, key, value


def attend(query: Tensor, key: Tensor, value: Tensor, **options) -> Tensor:
    return regard.attend(query, key, value, backend="reference", **options)


def full(tensor: Tensor, scene: Scene) -> Tensor:
    return tensor.expand(scene.batch, scene.heads, scene.queries, scene.keys)


# Meaning, definition and intervals


@settings(max_examples=150)
@given(st.data())
def test_definition_and_intervals_are_what_the_mask_means(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    meaning, place = drawn.matrix(scene), scene.place()
    assert torch.equal(full(drawn.mask.allowed(place), scene), meaning)
    assert torch.equal(full(lower_mask(drawn.mask, place).allowed, scene), meaning)
    bounds = drawn.mask.intervals(place)
    if bounds is not None:
        assert torch.equal(full(sets.contains(bounds, scene.keys), scene), meaning)


@given(st.data())
def test_masks_without_a_dense_part_have_intervals(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    mask, place = data.draw(expressions(scene, dense=False)).mask, scene.place()
    bounds = mask.intervals(place)
    assert bounds is not None
    lowered = lower_mask(mask, place)
    assert (lowered.bounds is None) == (bounds.shape[-2] > MOST_INTERVALS)


@given(st.data())
def test_the_call_makes_the_same_place(data: st.DataObject) -> None:
    """`attend` finds the packing in the mask, however deep, and restarts the positions."""
    scene = data.draw(scenes())
    mask = data.draw(expressions(scene)).mask
    call = checked_call(
        *tensors(scene), score=None, normalize=None, mask=mask, offset=scene.offsets, dropout=0.0, record={}
    )
    expected = scene.place()
    assert torch.equal(call.place.stand.expand(scene.batch, 1, -1), expected.stand.expand(scene.batch, 1, -1))
    assert torch.equal(
        call.place.origin.expand(scene.batch, 1, scene.queries),
        expected.origin.expand(scene.batch, 1, scene.queries),
    )


@few
@given(st.data())
def test_de_morgan(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    left, right = (data.draw(expressions(scene)).mask for _ in range(2))
    place = scene.place()
    for one, other in ((~(left & right), ~left | ~right), (~(left | right), ~left & ~right), (~~left, left)):
        assert torch.equal(full(lower_mask(one, place).allowed, scene), full(lower_mask(other, place).allowed, scene))


def test_causal_window_of_127_sees_128_keys() -> None:
    scene = Scene(batch=1, heads=1, queries=257, keys=257)
    lowered = lower_mask(regard.Causal() & regard.Window(127), scene.place())
    assert lowered.bounds.shape[-2] == 1
    low, high = lowered.bounds[0, 0, :, 0].T.tolist()
    assert [(low[i], high[i]) for i in (0, 127, 128, 256)] == [(0, 1), (0, 128), (1, 129), (129, 257)]


def drawn_by(mask: regard.Mask, scene: Scene) -> list[str]:
    """A line for each query, with a cross for each key that it sees: the same by definition and by intervals."""
    place = scene.place()
    allowed = full(mask.allowed(place), scene)[0, 0].tolist()
    assert full(sets.contains(mask.intervals(place), scene.keys), scene)[0, 0].tolist() == allowed
    return ["".join("x" if cell else "." for cell in row) for row in allowed]


def test_by_hand() -> None:
    scene = Scene(batch=1, heads=1, queries=3, keys=5, offset=1)
    assert drawn_by(regard.Causal(), scene) == ["xx...", "xxx..", "xxxx."]
    assert drawn_by(regard.Window(1), scene) == ["xxx..", ".xxx.", "..xxx"]
    assert drawn_by(regard.Window(0, 2), scene) == [".xxx.", "..xxx", "...xx"]
    assert drawn_by(regard.Prefix(2), scene) == ["xx...", "xx...", "xx..."]
    assert drawn_by(regard.Global(2), scene) == ["xxxxx", "xx...", "xx..."]
    assert drawn_by(regard.Window(0) | regard.Global(1), scene) == ["xx...", "x.x..", "x..x."]
    assert drawn_by(regard.Causal() | regard.Prefix(3), scene) == ["xxx..", "xxx..", "xxxx."]
    assert drawn_by(~regard.Lengths([3], start=[1]), scene) == ["x...x", "x...x", "x...x"]


def test_packed_by_hand() -> None:
    """Two documents, of one query and two keys, and of two queries and three keys."""
    scene = Scene(batch=1, heads=1, queries=3, keys=5, packing=Packing([[1, 2]], [[2, 3]]))
    documents = regard.Documents([1, 2], key_lengths=[2, 3])
    assert drawn_by(documents, scene) == ["xx...", "..xxx", "..xxx"]
    assert drawn_by(regard.Causal(), scene) == ["x....", "xxx..", "xxxx."]
    assert drawn_by(documents & regard.Causal(), scene) == ["x....", "..x..", "..xx."]
    assert drawn_by(regard.Window(1), scene) == ["xx...", ".xxx.", "..xxx"]
    assert drawn_by(regard.Prefix(1), scene) == ["x....", "xxx..", "xxx.."]
    assert drawn_by(documents & regard.Global(1), scene) == ["xx...", "..xxx", "..x.."]
    assert drawn_by(documents & regard.Prefix(2), scene) == ["xx...", "..xx.", "..xx."]


# Masking a key is not having it


@few
@given(st.data())
def test_masking_keys_is_deleting_them(data: st.DataObject) -> None:
    scene = data.draw(scenes(packed=False))
    kept = data.draw(st.lists(st.integers(0, scene.keys - 1), min_size=1, unique=True))
    query, key, value = tensors(scene)
    dense = torch.zeros(scene.keys, dtype=torch.bool)
    dense[kept] = True
    masked = attend(query, key, value, mask=regard.Dense(dense))
    deleted = attend(query, key[:, :, dense], value[:, :, dense])
    torch.testing.assert_close(masked, deleted, rtol=1e-12, atol=1e-12)


@few
@given(st.data())
def test_any_mask_deletes_for_each_query(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    query, key, value = tensors(scene)
    context = attend(query, key, value, mask=drawn.mask, offset=scene.offsets)
    sees = drawn.matrix(scene)
    row, head = (data.draw(st.integers(0, size - 1)) for size in (scene.batch, scene.heads))
    for i in range(scene.queries):
        kept = sees[row, head, i]
        alone = (slice(row, row + 1), slice(head, head + 1))
        expected = attend(query[alone][:, :, i : i + 1], key[alone][:, :, kept], value[alone][:, :, kept])
        torch.testing.assert_close(context[row, head, i], expected[0, 0, 0], rtol=1e-12, atol=1e-12)


@few
@given(st.data())
def test_padding_on_either_side_changes_nothing(data: st.DataObject) -> None:
    scene = data.draw(scenes(packed=False))
    lengths = data.draw(st.lists(st.integers(0, scene.keys), min_size=scene.batch, max_size=scene.batch))
    query, key, value = tensors(scene)
    right, left = torch.randn(2, 2, scene.batch, scene.heads, scene.keys, 5, dtype=torch.float64)
    starts = [scene.keys - length for length in lengths]
    for row, length in enumerate(lengths):
        for side, real in ((0, key), (1, value)):
            right[side, row, :, :length] = real[row, :, :length]
            left[side, row, :, scene.keys - length :] = real[row, :, :length]
    on_the_right = attend(query, *right, mask=regard.Lengths(lengths))
    on_the_left = attend(query, *left, mask=regard.Lengths(torch.tensor(lengths), start=torch.tensor(starts)))
    for row, length in enumerate(lengths):
        alone = attend(query[row, None], key[row, None, :, :length], value[row, None, :, :length])
        for padded in (on_the_right, on_the_left):
            torch.testing.assert_close(padded[row], alone[0], rtol=1e-12, atol=1e-12)


# Positions


@few
@given(st.data())
def test_offset_moves_the_queries(data: st.DataObject) -> None:
    """The last queries of a long call, at their offset, are what they are in the whole call."""
    scene = data.draw(scenes(packed=False, square=True))
    mask = data.draw(expressions(Scene(batch=scene.batch, heads=1, queries=1, keys=scene.keys), dense=False)).mask
    cut = data.draw(st.integers(0, scene.queries - 1))
    query, key, value = tensors(scene)
    whole = attend(query, key, value, mask=mask)
    last = attend(query[:, :, cut:], key, value, mask=mask, offset=cut)
    torch.testing.assert_close(last, whole[:, :, cut:], rtol=1e-12, atol=1e-12)
    rows = attend(query[:, :, cut:], key, value, mask=mask, offset=torch.full((scene.batch,), cut))
    assert torch.equal(rows, last)


def test_each_row_has_its_own_offset() -> None:
    query, key, value = tensors(SCENE)
    together = attend(query, key, value, mask=regard.Causal(), offset=torch.tensor([2, -1]))
    for row, offset in enumerate((2, -1)):
        alone = attend(query[row, None], key[row, None], value[row, None], mask=regard.Causal(), offset=offset)
        torch.testing.assert_close(together[row], alone[0], rtol=1e-12, atol=1e-12)
    assert not together[1, :, 0].any()  # at -1 the first query stands before every key


# Packing


@few
@given(st.data())
def test_packing_is_running_each_document_alone(data: st.DataObject) -> None:
    """In self- and in cross-attention, whatever else the mask says about positions."""
    scene = data.draw(scenes(packed=True))
    inner = data.draw(
        st.sampled_from(
            (
                None,
                regard.Causal(),
                regard.Causal() & regard.Window(2),
                regard.Causal() | regard.Prefix(2),
                ~regard.Window(1, 0),
            )
        )
    )
    documents = scene.packing.mask()
    query, key, value = tensors(scene)
    mask = documents if inner is None else documents & inner
    context = attend(query, key, value, mask=mask, offset=scene.offsets)
    for row in range(scene.batch):
        offset = scene.offset if isinstance(scene.offset, int) else scene.offset[row]
        queries = query[row].split(scene.packing.queries[row], 1)
        keys, values = (side[row].split(scene.packing.keys[row], 1) for side in (key, value))
        alone = [
            attend(*(part[None] for part in parts), mask=inner, offset=offset)[0]
            for parts in zip(queries, keys, values, strict=True)
        ]
        torch.testing.assert_close(context[row], torch.cat(alone, 1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("causal", [False, True])
def test_packing_is_padding(causal: bool) -> None:
    """Three documents in a row, or in three padded rows: the same contexts and the same gradients."""
    queries, keys = [2, 5, 3], [3, 7, 1]
    query, key, value = tensors(Scene(batch=1, heads=3, queries=10, keys=11))
    packed = [tensor.clone().requires_grad_() for tensor in (query, key, value)]
    mask = regard.Documents(queries, key_lengths=keys)
    context = attend(*packed, mask=mask & regard.Causal() if causal else mask)
    weight = torch.randn_like(context)
    (context * weight).sum().backward()

    def pad(tensor: Tensor, lengths: list[int]) -> Tensor:
        rows = [part.transpose(0, 1) for part in tensor[0].split(lengths, 1)]
        return torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).transpose(1, 2)

    def unpad(tensor: Tensor, lengths: list[int]) -> Tensor:
        return torch.cat([row[:, :length] for row, length in zip(tensor, lengths, strict=True)], 1)[None]

    padded = [
        pad(tensor, lengths).requires_grad_() for tensor, lengths in ((query, queries), (key, keys), (value, keys))
    ]
    lengths = regard.Lengths(keys)
    rows = attend(*padded, mask=lengths & regard.Causal() if causal else lengths)
    (rows * pad(weight, queries)).sum().backward()
    torch.testing.assert_close(context, unpad(rows, queries), rtol=1e-12, atol=1e-12)
    for one, other, sizes in zip(packed, padded, (queries, keys, keys), strict=True):
        torch.testing.assert_close(one.grad, unpad(other.grad, sizes), rtol=1e-12, atol=1e-12)
