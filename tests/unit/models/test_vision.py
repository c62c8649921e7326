"""Visual encoders: maps of every size of picture, each picture as it is alone, attention where it is said to be."""

import pytest
import torch

from regard.attention import TopK, watch
from regard.models.vision import Patches, Pyramid, VisionTransformer, VisualEncoder

PYRAMID = Pyramid(
    dims=(8, 16, 24, 32), convolutions=(1, 0, 1, 0), attention=(0, 1, 1, 1),
    attends=("none", "axial", "global", "global"), head_dim=8,
)  # fmt: skip


def build(kind: str) -> VisualEncoder | VisionTransformer:
    torch.manual_seed(1)
    if kind == "pyramid":
        return VisualEncoder(PYRAMID)
    return VisionTransformer(Patches(dim=24, layers=2, heads=3, feed_forward=40, patch=8))


def pictures(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(2)).byte()


@pytest.mark.parametrize(("kind", "strides"), [("pyramid", (4, 8, 16, 32)), ("vit", (2, 4, 8, 16))])
@pytest.mark.parametrize("size", [(64, 96), (45, 67), (33, 31)])
def test_maps_have_the_pictures_size_by_their_strides_rounded_up(kind, strides, size):
    encoder = build(kind).eval()
    assert encoder.strides == strides
    maps = encoder(pictures(2, 3, *size))
    expected = [(2, dim, -(-size[0] // s), -(-size[1] // s)) for dim, s in zip(encoder.dims, strides, strict=True)]
    assert [tuple(each.shape) for each in maps] == expected


@pytest.mark.parametrize("kind", ["pyramid", "vit"])
def test_a_picture_is_read_as_it_is_alone(kind):
    encoder, given = build(kind).eval(), pictures(3, 3, 40, 52)
    together = encoder(given)
    for place in range(3):
        for one, other in zip(encoder(given[place : place + 1]), together, strict=True):
            torch.testing.assert_close(one[0], other[place], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["pyramid", "vit"])
def test_every_weight_is_trained(kind):
    encoder = build(kind)
    sum(each.square().sum() for each in encoder(pictures(2, 3, 64, 64))).backward()
    assert [name for name, weight in encoder.named_parameters() if weight.grad is None] == []


def test_fewer_levels_are_the_first_of_all():
    whole, given = build("pyramid").eval(), pictures(2, 3, 40, 52)
    torch.manual_seed(1)
    fewer = VisualEncoder(PYRAMID, levels=3).eval()
    assert (fewer.dims, fewer.strides) == ((8, 16, 24), (4, 8, 16))
    assert fewer.global_layers == {"stages.2.*": 16}
    torch.testing.assert_close(fewer(given), whole(given)[:3])


def test_it_attends_where_it_says():
    encoder = build("pyramid").eval()
    with watch(encoder, TopK(1)) as seen:
        encoder(pictures(1, 3, 64, 96))
    sizes = {name: (one.topk.keys.shape[0], one.topk.keys.shape[2]) for name, one in seen.items()}
    assert sizes == {
        "stages.1.1.blocks.0.height.attention": (12, 8),  # a row of the batch for each column
        "stages.1.1.blocks.0.width.attention": (8, 12),
        "stages.2.2.blocks.0.attention": (1, 4 * 6),
        "stages.3.1.blocks.0.attention": (1, 2 * 3),
    }
    assert encoder.global_layers == {"stages.2.*": 16, "stages.3.*": 32}


def test_where_things_are_matters():
    """The same patches in another order are another picture."""
    encoder = build("vit").eval()
    given = pictures(1, 3, 16, 16)
    turned = torch.cat((given[..., 8:], given[..., :8]), -1)
    one, other = encoder(given)[2], encoder(turned)[2]
    assert not torch.allclose(one, other.flip(-1), atol=1e-3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dims": (8, 16)}, "dims has a value for each of the strides 4, 8, 16 and 32"),
        ({"attention": (1, 0, 0, 0)}, "blocks of attention attend axially or globally"),
        ({"dims": (48, 90, 160, 256)}, r"dims with attention are multiples of head_dim \(32\); got 90"),
    ],
)
def test_shapes_that_make_no_sense_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        Pyramid(**options)
