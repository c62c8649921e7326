import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.explain import Alignment, Attended, entropy

LAYERS, HEADS, OUTPUT, SOURCE = 2, 3, 5, 7


def by_hand() -> Alignment:
    """One layer of two heads, two output and three source tokens."""
    heads = [[[0.5, 0.25, 0.25], [1.0, 0.0, 0.0]], [[0.0, 0.75, 0.25], [0.5, 0.5, 0.0]]]
    return Alignment(source=("▁a", "b", "</s>"), output=("▁c", "</s>"), weights=torch.tensor([heads]))


# layers, heads, output and source tokens; how sharp the weights are; a seed
shapes = st.tuples(*[st.integers(1, 5)] * 4)
sharpness = st.sampled_from([0.0, 1.0, 30.0])
seeds = st.integers(0, 99)


def random(shape: tuple[int, int, int, int], sharp: float, seed: int) -> Alignment:
    weights = (sharp * torch.randn(shape, generator=torch.Generator().manual_seed(seed))).softmax(-1)
    source, output = tuple("abcde"[: shape[3]]), tuple("vwxyz"[: shape[2]])
    return Alignment(source=source, output=output, weights=weights, marker="")


def test_mean_by_hand() -> None:
    torch.testing.assert_close(by_hand().mean(), torch.tensor([[0.25, 0.5, 0.25], [0.75, 0.25, 0.0]]))


def test_entropy_by_hand() -> None:
    two, quarters = math.log(2), -0.25 * math.log(0.25) - 0.75 * math.log(0.75)
    torch.testing.assert_close(by_hand().entropy(), torch.tensor([[[1.5 * two, 0.0], [quarters, two]]]))
    torch.testing.assert_close(by_hand().mean_entropy(), torch.tensor([1.5 * two, quarters]))


def test_top_by_hand() -> None:
    # The first row's second place is shared by a and END: the lower position comes first.
    first = (Attended(1, "·b", 0.5), Attended(0, "a", 0.25))
    assert by_hand().top(2) == (first, (Attended(0, "a", 0.75), Attended(1, "·b", 0.25)))
    assert by_hand().top(1, layer=0, head=1) == ((Attended(1, "·b", 0.75),), (Attended(0, "a", 0.5),))


@given(shapes, sharpness, seeds)
def test_a_mean_map_is_a_map(shape: tuple[int, int, int, int], sharp: float, seed: int) -> None:
    alignment = random(shape, sharp, seed)
    mean = alignment.mean()
    torch.testing.assert_close(mean.sum(-1), torch.ones(len(alignment.output)))
    layers = torch.stack([alignment.map(layer=layer) for layer in range(alignment.layers)])
    torch.testing.assert_close(layers.mean(0), mean)
    heads = [alignment.map(layer=0, head=head) for head in range(alignment.heads)]
    torch.testing.assert_close(torch.stack(heads).mean(0), layers[0])


@given(shapes, sharpness, seeds)
def test_entropy_lies_between_one_token_and_all_alike(
    shape: tuple[int, int, int, int], sharp: float, seed: int
) -> None:
    alignment = random(shape, sharp, seed)
    limit = math.log(len(alignment.source))
    for nats in (alignment.entropy(), alignment.mean_entropy()):
        assert nats.min() >= 0
        assert nats.max() <= limit + 1e-5
    # Mixing spreads: the entropy of a mean is no less than the mean of the entropies.
    assert (alignment.mean_entropy() >= alignment.entropy().mean((0, 1)) - 1e-5).all()


@given(st.integers(1, 80))
def test_entropy_at_its_ends(source: int) -> None:
    torch.testing.assert_close(entropy(torch.full((source,), 1 / source)), torch.tensor(math.log(source)))
    assert entropy(torch.eye(source)).abs().max() == 0


@given(shapes, sharpness, seeds, st.integers(1, 6))
def test_top_is_the_head_of_the_sorted_row(shape: tuple[int, int, int, int], sharp: float, seed: int, k: int) -> None:
    alignment = random(shape, sharp, seed)
    for row, tops in zip(alignment.mean().tolist(), alignment.top(k), strict=True):
        assert [each.weight for each in tops] == sorted(row, reverse=True)[:k]
        assert all(row[each.position] == each.weight for each in tops)
        assert all(alignment.source[each.position] == each.piece for each in tops)


@given(st.permutations(range(SOURCE)))
def test_the_order_of_the_source_changes_no_entropy(order: list[int]) -> None:
    weights = torch.randn(LAYERS, HEADS, OUTPUT, SOURCE, generator=torch.Generator().manual_seed(1)).softmax(-1)
    torch.testing.assert_close(entropy(weights[..., order]), entropy(weights))


def test_weights_are_kept_plain() -> None:
    weights = torch.randn(1, 1, 2, 3, dtype=torch.float64, requires_grad=True).softmax(-1)
    kept = Alignment(source=("a", "b", "c"), output=("d", "e"), weights=weights).weights
    assert kept.dtype == torch.float32
    assert not kept.requires_grad


def test_weights_rounded_to_bfloat16_still_sum_to_one() -> None:
    weights = torch.randn(3, 5, 11, 79).softmax(-1).bfloat16()
    Alignment(source=("a",) * 79, output=("b",) * 11, weights=weights)


def test_layers_have_names(align: Callable[..., Any]) -> None:
    assert align("a b", "c").layer_names == ("layer 0", "layer 1")
    assert align("a b", "c", layer_names=("low", "high")).layer_names == ("low", "high")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"source": ("a",)},
            r"source has 1 pieces, but weights of shape \(1, 1, 2, 3\) are for 3: .*END included",
        ),
        ({"output": ("a",) * 5}, "output has 5 pieces, .* are for 2"),
        ({"weights": torch.ones(1, 0, 2, 3)}, r"none of them 0, but have \(1, 0, 2, 3\)"),
        ({"weights": torch.full((1, 1, 2, 3), math.nan)}, "NaN or infinity: pass what follows the softmax"),
        (
            {"weights": torch.tensor([[[[-1.0, 1, 1], [1, 0, 0]]]])},
            r"one is -1: if these .* scores.softmax\(-1\)",
        ),
        (
            {"weights": torch.tensor([[[[1.0, 0, 0], [0.5, 0, 0]]]])},
            "output token 1 in layer 0, head 0 sum to 0.5",
        ),
        ({"layer_names": ("a", "b")}, "layer_names has 2 names, but .* have 1 layers"),
    ],
)
def test_what_does_not_fit_is_said(change: dict[str, Any], message: str) -> None:
    fits = {"source": ("a", "b", "c"), "output": ("d", "e"), "weights": torch.ones(1, 1, 2, 3) / 3}
    with pytest.raises(ValueError, match=message):
        Alignment(**(fits | change))


def test_weights_of_another_kind() -> None:
    """In a process of its own, as users have it: here the tests' check of shapes would speak first."""
    code = """
import torch
from regard.explain import Alignment

for weights in (torch.ones(1, 1), [[[[1.0]]]]):
    try:
        Alignment(source=("a",), output=("b",), weights=weights)
    except (TypeError, ValueError) as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert "(1, 1): for one map of (output, source) pass weights[None, None]" in done.stdout
    assert "weights must be a torch.Tensor, not list: pass torch.as_tensor(weights)" in done.stdout


def test_maps_that_are_not_there() -> None:
    with pytest.raises(ValueError, match="head 1 of which layer"):
        by_hand().map(head=1)
    with pytest.raises(ValueError, match="there is no layer 1: give one of 0 to 0"):
        by_hand().map(layer=1)
    with pytest.raises(ValueError, match="there is no head -1: give one of 0 to 1"):
        by_hand().map(layer=0, head=-1)
    with pytest.raises(ValueError, match="k of at least 1, not 0"):
        by_hand().top(0)
