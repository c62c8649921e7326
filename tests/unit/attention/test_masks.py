"""Masks: what they say to values that do not fit, and how they print themselves."""

import re

import pytest
import torch
from torch import Tensor

import regard
from regard.attention.masks import Mask
from regard.attention.place import Place

PLACE = Place(batch=2, heads=3, queries=5, keys=7)


def refuses(error: type[Exception], text: str) -> pytest.RaisesExc:
    return pytest.raises(error, match=re.escape(text))


def test_masks_combine_with_masks() -> None:
    tensor = torch.ones(5, 7, dtype=torch.bool)
    text = "a mask combines with masks, not with Tensor; wrap a boolean tensor: regard.Dense(tensor) (shape (5, 7))"
    for combine in (Mask.__and__, Mask.__or__):
        with refuses(TypeError, text):
            combine(regard.Causal(), tensor)
        with refuses(TypeError, "a mask combines with masks, not with bool"):
            combine(regard.Causal(), True)


@pytest.mark.parametrize("sizes", [(-1,), (1, -3)], ids=["left", "right"])
def test_window_counts_keys(sizes: tuple[int, ...]) -> None:
    name = ("left", "right")[len(sizes) - 1]
    text = f"Window counts keys beside the query's place, so {name} must be >= 0, got {sizes[-1]}"
    with refuses(ValueError, text):
        regard.Window(*sizes)


def test_prefix_counts_keys() -> None:
    with refuses(ValueError, "Prefix needs a length >= 0, got -2"):
        regard.Prefix(-2)
    with refuses(ValueError, "Global needs a length >= 0, got -1"):
        regard.Global(-1)


def test_lengths_are_counts() -> None:
    with refuses(TypeError, "lengths are counts of keys: pass integers, not torch.float32"):
        regard.Lengths(torch.tensor([1.0, 2.0]))
    with refuses(TypeError, "start are counts of keys: pass integers, not torch.bool"):
        regard.Lengths([1, 2], start=torch.tensor([True, False]))
    with refuses(ValueError, "lengths must be >= 0, got -1"):
        regard.Lengths([3, -1])
    with refuses(ValueError, "start must be >= 0, got -2"):
        regard.Lengths([3, 1], start=[-2, 0])
    with refuses(TypeError, "key_lengths are counts of keys: pass integers, not torch.float64"):
        regard.Documents([3], key_lengths=torch.ones(1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("lengths", "start", "shapes"),
    [
        (torch.ones(2, 3, dtype=torch.int64), None, "lengths (2, 3) and start (2, 3)"),
        (torch.tensor(3), None, "lengths () and start ()"),
        (torch.tensor([3, 1]), torch.tensor([1]), "lengths (2,) and start (1,)"),
    ],
)
def test_one_length_per_row(lengths: Tensor, start: Tensor | None, shapes: str) -> None:
    text = f"Lengths takes one length (and one start) per batch row: expected shapes (batch,), got {shapes}"
    with refuses(ValueError, text):
        regard.Lengths(lengths, start=start)


def test_lengths_fit_the_call() -> None:
    with refuses(ValueError, "Lengths([1, 2, 3]) has 3 lengths, but the batch has 2 rows"):
        regard.Lengths([1, 2, 3]).check(PLACE)
    with refuses(ValueError, "Lengths([3, 5], start=[1, 3]) reaches key 8, but there are only 7 keys"):
        regard.Lengths([3, 5], start=[1, 3]).check(PLACE)
    regard.Lengths([7, 0]).check(PLACE)


def test_documents_are_lengths_of_two_sides() -> None:
    text = "Documents takes (documents,) or (batch, documents) lengths, as many for the keys as for the queries; "
    with refuses(ValueError, text + "got (1, 2) and (1, 3)"):
        regard.Documents([2, 3], key_lengths=[1, 2, 3])
    with refuses(ValueError, text + "got (1, 1, 2) and (1, 1, 2)"):
        regard.Documents(torch.ones(1, 1, 2, dtype=torch.int64))


def test_documents_fit_the_call() -> None:
    with refuses(ValueError, "Documents([[2, 3], [2, 3], [2, 3]]) has 3 rows, but the batch has 2"):
        regard.Documents([[2, 3]] * 3).check(PLACE)
    text = (
        "Documents([2, 2], key_lengths=[3, 4]) adds up to [4] queries, but the call has 5; give every row lengths "
        "whose sum is the padded size (the padding can be a document of its own)"
    )
    with refuses(ValueError, text):
        regard.Documents([2, 2], key_lengths=[3, 4]).check(PLACE)
    with refuses(ValueError, "adds up to [5, 5] keys, but the call has 7"):
        regard.Documents([[2, 3], [5, 0]]).check(PLACE)
    regard.Documents([[2, 3], [5, 0]], key_lengths=[[7, 0], [6, 1]]).check(PLACE)


def test_dense_is_boolean() -> None:
    text = (
        "Dense takes a boolean tensor where True means 'may attend', got torch.float32; a tensor that is added to "
        "the scores is a term: score=regard.ScaledDot() + regard.Bias(tensor)"
    )
    with refuses(TypeError, text):
        regard.Dense(torch.zeros(5, 7))
    with refuses(TypeError, "got torch.int64"):
        regard.Dense(torch.ones(5, 7, dtype=torch.int64))


@pytest.mark.usefixtures("unchecked")
def test_dense_is_a_tensor() -> None:
    with refuses(TypeError, "Dense takes a boolean tensor where True means 'may attend', got list"):
        regard.Dense([[True]])


@pytest.mark.parametrize("shape", [(2, 7), (5, 5), (2, 2, 5, 7), (1, 1, 1, 5, 7), (6,)], ids=str)
def test_dense_broadcasts(shape: tuple[int, ...]) -> None:
    text = (
        f"Dense({shape}) does not broadcast to (batch, heads, queries, keys) = (2, 3, 5, 7); "
        "a mask per batch row and key is regard.Dense(tensor[:, None, None, :])"
    )
    with refuses(ValueError, text):
        regard.Dense(torch.ones(shape, dtype=torch.bool)).check(PLACE)


def test_a_mask_of_one_s_own_says_what_it_allows() -> None:
    class Mine(Mask):
        pass

    with refuses(NotImplementedError, "Mine does not define allowed()"):
        Mine().allowed(PLACE)
    assert Mine().intervals(PLACE) is None


def test_a_mask_of_one_s_own_works_everywhere() -> None:
    """`allowed` is enough: it combines, lowers to dense, and runs on every backend."""

    class Even(Mask):
        def allowed(self, place: Place) -> Tensor:
            return (place.key_index % 2 == 0).view(1, 1, 1, -1)

    query, key, value = torch.randn(3, 2, 3, 7, 5)
    expected = regard.attend(query, key[:, :, ::2], value[:, :, ::2])
    for backend in ("reference", "sdpa"):
        torch.testing.assert_close(regard.attend(query, key, value, mask=Even(), backend=backend), expected)
        neither = Even() & ~Even()
        assert not regard.attend(query, key, value, mask=neither, backend=backend).any()


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (regard.Causal(), "Causal()"),
        (regard.Window(3), "Window(left=3, right=None)"),
        (regard.Lengths([3, 1]), "Lengths([3, 1])"),
        (regard.Lengths([3, 1], start=[0, 2]), "Lengths([3, 1], start=[0, 2])"),
        (regard.Documents([2, 3]), "Documents([2, 3])"),
        (regard.Documents([2, 3], key_lengths=[4, 3]), "Documents([2, 3], key_lengths=[4, 3])"),
        (regard.Documents([[2, 3], [4, 1]]), "Documents([[2, 3], [4, 1]])"),
        (regard.Dense(torch.ones(5, 7, dtype=torch.bool)), "Dense((5, 7))"),
        (
            regard.Causal() & ~regard.Window(1) | regard.Prefix(2),
            "((Causal() & ~Window(left=1, right=None)) | Prefix(length=2))",
        ),
    ],
    ids=str,
)
def test_they_print_as_they_are_written(mask: Mask, text: str) -> None:
    assert repr(mask) == text


def test_masks_without_tensors_are_values() -> None:
    assert regard.Causal() & regard.Window(3) == regard.Causal() & regard.Window(3)
    assert regard.Causal() & regard.Window(3) != regard.Causal() & regard.Window(5)
    assert hash(~regard.Prefix(2)) == hash(~regard.Prefix(2))


def test_parts() -> None:
    mask = regard.Causal() & ~(regard.Window(1) | regard.Prefix(2))
    assert [type(part).__name__ for part in mask.parts()] == ["And", "Causal", "Not", "Or", "Window", "Prefix"]
