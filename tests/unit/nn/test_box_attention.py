"""Attention within boxes: it reads what is in the box, at its place, and nothing else."""

import pytest
import torch

import regard
from regard.nn.box_attention import BoxAttention, Cells, sample


def build(**options) -> BoxAttention:
    torch.manual_seed(1)
    return BoxAttention(16, 2, **{"levels": 2, "points": 3, **options}).eval()


def cells(*sizes: tuple[int, int]) -> Cells:
    generator = torch.Generator().manual_seed(2)
    return Cells.of([torch.randn(2, 16, *size, generator=generator) for size in sizes])


BOXES = torch.tensor([[[0.5, 0.5, 0.4, 0.2], [0.2, 0.7, 0.1, 0.3], [0.9, 0.1, 0.2, 0.2]]]).repeat(2, 1, 1)


def test_points_lie_evenly_in_the_box():
    where = build(reach=1.0).where(BOXES)[0, 0]
    columns, rows = where[:, 0].view(3, 3), where[:, 1].view(3, 3)
    torch.testing.assert_close(columns[0], torch.tensor([0.5 - 0.4 / 3, 0.5, 0.5 + 0.4 / 3]))
    torch.testing.assert_close(rows[:, 0], torch.tensor([0.5 - 0.2 / 3, 0.5, 0.5 + 0.2 / 3]))


def test_a_map_that_says_where_it_is_is_read_where_the_points_are():
    height, width = 20, 30
    rows = ((torch.arange(height) + 0.5) / height).view(1, 1, -1, 1).expand(2, 1, -1, width)
    columns = ((torch.arange(width) + 0.5) / width).view(1, 1, 1, -1).expand(2, 1, height, -1)
    layer = build(levels=1)
    inside = torch.tensor([[[0.5, 0.5, 0.4, 0.2], [0.3, 0.6, 0.3, 0.3]]]).repeat(2, 1, 1)
    where = layer.where(inside)
    torch.testing.assert_close(sample(Cells.of([torch.cat((columns, rows), 1)]), where), where, atol=1e-5, rtol=1e-5)


def test_what_lies_outside_the_box_does_not_matter():
    layer, queries = build(), torch.randn(2, 3, 16)
    given = cells((16, 24), (8, 12))
    before = layer(queries, BOXES, given)
    changed = [one.clone() for one in given.maps]
    for one in changed:  # the first box lies between 0.25 and 0.75 across, 0.375 and 0.625 down
        one[..., : int(0.2 * one.shape[-1])] += 5.0
    after = layer(queries, BOXES, Cells.of(changed))
    torch.testing.assert_close(after[:, 0], before[:, 0])
    assert not torch.allclose(after[:, 1], before[:, 1])


def test_it_is_the_four_steps_by_hand():
    layer, queries = build(), torch.randn(2, 3, 16)
    given = cells((16, 24), (8, 12))
    read = sample(Cells(vectors=layer.key_value(given.vectors), sizes=given.sizes), layer.where(BOXES))
    key, value = read[..., :16] + layer.place, read[..., 16:]
    query = layer.query(queries)
    heads = []
    for head in range(2):
        part = slice(8 * head, 8 * head + 8)
        weights = (torch.einsum("bqd,bqkd->bqk", query[..., part], key[..., part]) / 8**0.5).softmax(-1)
        heads.append(torch.einsum("bqk,bqkd->bqd", weights, value[..., part]))
    expected = layer.output(torch.cat(heads, -1))
    torch.testing.assert_close(layer(queries, BOXES, given), expected, atol=1e-5, rtol=1e-4)


def test_who_watches_changes_nothing():
    layer, queries = build(points=4), torch.randn(2, 3, 16, requires_grad=True)
    given = cells((16, 24), (8, 12))
    given.vectors.requires_grad_()
    leaves = [queries, given.vectors, *layer.parameters()]
    alone = layer(queries, BOXES, given)
    with regard.watch(layer, regard.Weights()):
        watched = layer(queries, BOXES, given)
    torch.testing.assert_close(alone, watched, atol=1e-5, rtol=1e-4)
    pairs = (torch.autograd.grad(found.square().sum(), leaves) for found in (alone, watched))
    for one, other in zip(*pairs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-4, rtol=1e-3)


def test_every_weight_is_trained_and_every_weight_seen():
    layer, queries = build(), torch.randn(2, 3, 16)
    with regard.watch(layer, regard.Weights()) as seen:
        layer(queries, BOXES, cells((16, 24), (8, 12))).square().sum().backward()
    assert [name for name, weight in layer.named_parameters() if weight.grad is None] == []
    assert seen[""].weights.shape == (2 * 3, 2, 1, 2 * 9)


def test_widths_that_do_not_divide():
    with pytest.raises(ValueError, match=r"dim \(16\) must be a multiple of heads \(3\)"):
        BoxAttention(16, 3, levels=1)
