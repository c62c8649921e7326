"""The segmenter: logits for every pixel, classes that look at the picture."""

import pytest
import torch

from regard.attention import Weights, watch
from regard.models.segmenter import Segmenter
from regard.models.vision import Pyramid, VisualEncoder

SHAPE = Pyramid(
    dims=(8, 16, 24, 32), convolutions=(1, 0, 0, 0), attention=(0, 0, 1, 0),
    attends=("none", "none", "global", "none"), head_dim=8,
)  # fmt: skip


def build(layers: int = 1) -> Segmenter:
    torch.manual_seed(1)
    return Segmenter(VisualEncoder(SHAPE), 5, dim=16, layers=layers, heads=2, dropout=0.0)


def pictures(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(2)).byte()


@pytest.mark.parametrize("layers", [0, 2])
def test_logits_are_at_the_finest_and_at_a_coarse_stride(layers):
    model = build(layers).eval()
    fine, coarse = model.with_coarse(pictures(2, 3, 45, 70))
    assert fine.shape == (2, 5, 12, 18)
    assert coarse.shape == (2, 5, 3, 5)
    assert torch.equal(model(pictures(2, 3, 45, 70)), fine)


def test_classes_attend_to_the_picture_and_to_each_other():
    model = build(2).eval()
    with watch(model, Weights(), layers=["layers.*"]) as seen:
        model(pictures(1, 3, 64, 48))
    shapes = {name: tuple(one.weights.shape) for name, one in seen.items()}
    assert shapes == {
        f"layers.{number}.{kind}": (1, 2, 5, keys)
        for number in range(2)
        for kind, keys in (("attention", 5), ("cross", 4 * 3))
    }


def test_without_layers_a_class_is_the_same_in_every_picture():
    for layers, same in ((0, True), (1, False)):
        model = build(layers).eval()
        one, other = (model._classes(torch.randn(1, 16, 3, 4)) for _ in range(2))
        assert torch.equal(one, other) == same


def test_every_weight_is_trained():
    model = build()
    fine, coarse = model.with_coarse(pictures(2, 3, 64, 64))
    (fine.square().sum() + coarse.square().sum()).backward()
    assert [name for name, weight in model.named_parameters() if weight.grad is None] == []
