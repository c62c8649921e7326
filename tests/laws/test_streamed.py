"""`streamed` is the reference, block by block: contexts, observations and gradients, for blocks of any size."""

from itertools import product

import pytest
import torch
from tests.laws.mechanism import MASKS, NORMALIZERS, OFFSET, RECORD, SCORES, inputs, learned, tensors_of
from torch import Tensor

import regard
from regard.attention.backends import streamed

pytestmark = pytest.mark.usefixtures("unchecked")  # hundreds of blocks; other tests check their shapes

# Numbers of a block: of one query, of some, of some heads, of some batch rows; all of the call is at once.
SIZES = (1, 100, 700, 2000)


def calls() -> list[tuple[str, str, str]]:
    """Each score with some masks, each normaliser with some masks, and some scores with some normalisers."""
    some = ("padding", "window and prefix")
    found = {
        *product(SCORES, ["softmax"], some),
        *product(["scaled"], NORMALIZERS, some),
        *product(["dot"], ["softmax"], MASKS),
    }
    found |= set(list(product(SCORES, NORMALIZERS, ["documents"]))[::13])
    return sorted(found)


def everything(
    tensors: list[Tensor], score: regard.Score, normalize: regard.Normalizer, mask: regard.Mask | None, backend: str
) -> dict[str, Tensor]:
    """Context, observations, and the gradients of a loss that reads all that has a gradient."""
    torch.manual_seed(3)
    context, seen = regard.observe(
        *tensors,
        score=score,
        normalize=normalize,
        mask=mask,
        offset=OFFSET,
        dropout=0.2,
        record=RECORD,
        backend=backend,
    )
    loss = context.square().sum()
    for name, item in RECORD.items():
        if item.has_gradient:
            loss = loss + seen[name].masked_fill(seen[name] == -torch.inf, 0.0).square().sum()
    leaves = [*tensors, *learned(score, normalize)]
    gradients = torch.autograd.grad(loss, leaves, allow_unused=True)
    found = {"context": context, **tensors_of(seen)}
    for number, (leaf, gradient) in enumerate(zip(leaves, gradients, strict=True)):
        found[f"gradient {number}"] = torch.zeros_like(leaf) if gradient is None else gradient
    return found


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    for name, tensor in one.items():
        assert not tensor.isnan().any(), name
        torch.testing.assert_close(
            other[name], tensor, rtol=1e-9, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(("score", "normalize", "mask"), calls())
def test_it_is_the_reference(score: str, normalize: str, mask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(streamed.BLOCK, "cpu", 300)
    monkeypatch.setattr(streamed, "KEPT", 0)
    tensors, call = inputs(), (SCORES[score](), NORMALIZERS[normalize](), MASKS[mask]())
    same(everything(tensors, *call, "reference"), everything(tensors, *call, "streamed"))


@pytest.mark.parametrize("kept", [0, streamed.KEPT], ids=["anew", "kept"])
@pytest.mark.parametrize("size", SIZES)
def test_the_size_of_a_block_changes_nothing(size: int, kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    tensors, call = inputs(), (SCORES["additive"](), regard.Entmax15(), MASKS["heads"]())
    whole = everything(tensors, *call, "reference")
    monkeypatch.setitem(streamed.BLOCK, "cpu", size)
    monkeypatch.setattr(streamed, "KEPT", kept)
    same(whole, everything(tensors, *call, "streamed"))


def test_blocks_are_as_large_as_they_may_be() -> None:
    place = regard.attention.place.Place(batch=3, heads=8, queries=100, keys=1000)
    budget = streamed.BLOCK["cpu"]
    for groups, width in product((1, 4, 8), (1, 64, 10**9)):
        sizes = streamed.block_sizes(place, groups, width)
        assert sizes.heads % groups == 0
        held = sizes.rows * sizes.heads * sizes.queries * 1000 * width
        assert held <= budget or (sizes.rows, sizes.heads, sizes.queries) == (1, groups, 1)


@pytest.mark.parametrize("name", ["general", "additive", "network"])
def test_second_derivatives(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(streamed.BLOCK, "cpu", 300)
    monkeypatch.setattr(streamed, "KEPT", 0)
    tensors, score = inputs(), SCORES[name]()
    found = []
    for backend in ("reference", "streamed"):
        context = regard.attend(*tensors, score=score, mask=regard.Causal(), backend=backend)
        first = torch.autograd.grad(context.square().sum(), tensors, create_graph=True)
        found.append(torch.autograd.grad(sum(g.square().sum() for g in first), [*tensors, *learned(score)]))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_only_what_may_be_seen_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A window over a long row costs its width: the pairs that are scored are counted."""
    counted = 0

    class Counting(regard.Dot):
        def matrix(self, query: Tensor, key: Tensor, place: object) -> Tensor:
            nonlocal counted
            counted += query.shape[2] * key.shape[2]
            return super().matrix(query, key, place)

    monkeypatch.setitem(streamed.BLOCK, "cpu", 32 * 2003)
    query, key, value = torch.randn(3, 1, 1, 2003, 3)
    for mask, share in ((regard.Causal(), 0.52), (regard.Causal() & regard.Window(63), 0.05)):
        counted = 0
        found = regard.attend(query, key, value, score=Counting(), mask=mask, backend="streamed")
        assert counted <= share * 2003**2
        torch.testing.assert_close(found, regard.attend(query, key, value, score=regard.Dot(), mask=mask))


def test_one_tensor_as_query_key_and_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(streamed.BLOCK, "cpu", 100)
    monkeypatch.setattr(streamed, "KEPT", 0)
    one = torch.randn(2, 3, 13, 5, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in ("reference", "streamed"):
        context = regard.attend(one, one, one, score=regard.Dot(), mask=regard.Causal(), backend=backend)
        (plain,) = torch.autograd.grad(context.square().sum(), one, retain_graph=True)
        (first,) = torch.autograd.grad(context.square().sum(), one, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), one)
        found.append((plain, first, second))
    for pair in zip(*found, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)


def test_scores_of_ones_own_keep_every_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also of a tensor that nothing but a closure knows."""
    monkeypatch.setitem(streamed.BLOCK, "cpu", 100)
    monkeypatch.setattr(streamed, "KEPT", 0)
    hidden = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)

    class Mine(regard.Score):
        def matrix(self, query: Tensor, key: Tensor, place: object) -> Tensor:
            return hidden * query @ key.mT

    tensors = inputs()
    found = [
        torch.autograd.grad(regard.attend(*tensors, score=Mine(), backend=backend).square().sum(), [*tensors, hidden])
        for backend in ("reference", "streamed")
    ]
    for pair in zip(*found, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-9, atol=1e-9)
