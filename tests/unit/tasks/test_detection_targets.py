"""Who is responsible for what, the noise that is to be cleaned away, and what it costs to be wrong."""

import itertools

import pytest
import torch

from regard.models.boxes import iou, to_centred, to_corners
from regard.models.detector import Detector, Found, Queries
from regard.models.vision import Pyramid, VisualEncoder
from regard.tasks.detection.losses import of_cells, of_classes, of_queries
from regard.tasks.detection.recipe import Weights
from regard.tasks.detection.targets import Costs, Pairs, Things, assigned, matched
from regard.tasks.detection.training_queries import SHIFT, denoising, parted, together


def boxes(count: int, seed: int) -> torch.Tensor:
    low, size = torch.rand(2, count, 2, generator=torch.Generator().manual_seed(seed)) * 0.5
    return to_centred(torch.cat((low, low + size + 0.02), -1))


def things(*counts_and_seeds: tuple[int, int]) -> Things:
    """Things of as many pictures as there are pairs of a count and a seed."""
    labels = [
        torch.randint(0, 3, (count,), generator=torch.Generator().manual_seed(seed)) for count, seed in counts_and_seeds
    ]
    return Things.of([boxes(count, seed) for count, seed in counts_and_seeds], labels)


def found(count: int, seed: int, batch: int = 1) -> Found:
    generator = torch.Generator().manual_seed(seed)
    return Found(
        logits=torch.randn(batch, count, 3, generator=generator),
        boxes=torch.stack([boxes(count, seed + 50 + row) for row in range(batch)]),
    )


def cost(one: Found, query: int, true: Things, place: int, costs: Costs, row: int = 0) -> float:
    """What a pair costs, by hand."""
    p = one.logits[row, query, true.labels[row, place]].sigmoid()
    label = 0.25 * (1 - p) ** 2 * -p.log() - 0.75 * p**2 * -(1 - p).log()
    off = (one.boxes[row, query] - true.boxes[row, place]).abs().sum()
    own, other = to_corners(one.boxes[row, query]), to_corners(true.boxes[row, place])
    overlap, union = iou(own, other)
    hull = (torch.maximum(own[2:], other[2:]) - torch.minimum(own[:2], other[:2])).prod()
    return float(costs.label * label + costs.corners * off + costs.overlap * (1 - overlap + (hull - union) / hull))


@pytest.mark.parametrize("seed", range(4))
def test_things_are_given_to_queries_at_the_least_cost_in_all(seed):
    one, true, costs = found(5, seed, batch=2), things((2, seed + 3), (3, seed + 9)), Costs()
    pairs = matched(one, true, costs)
    assert pairs.pictures.tolist() == [0, 0, 1, 1, 1]
    for row, count in enumerate(true.counts):
        own = pairs.pictures == row
        queries, places = pairs.queries[own].tolist(), pairs.things[own].tolist()
        assert sorted(places) == list(range(count))
        paid = sum(cost(one, query, true, place, costs, row) for query, place in zip(queries, places, strict=True))
        least = min(
            sum(cost(one, query, true, place, costs, row) for place, query in enumerate(chosen))
            for chosen in itertools.permutations(range(5), count)
        )
        assert paid == pytest.approx(least, abs=1e-4)


def test_a_picture_without_things_has_no_pairs():
    none = things((0, 1))
    pairs = matched(found(5, 1), none, Costs())
    assert len(pairs) == 0
    chosen, counts = assigned(found(6, 1), torch.rand(6, 2), none)
    assert len(chosen) == len(counts) == 0
    assert float(of_queries(found(5, 1), none, pairs, Weights(), 1)) > 0, "sure of nothing costs nothing"


def test_pictures_are_the_same_beside_others():
    """What is filled up behind a picture's things is nobody's."""
    cells, centres = found(64, 2, batch=3), torch.rand(64, 2, generator=torch.Generator().manual_seed(3))
    pictures = ((3, 1), (0, 2), (1, 3))
    pairs = matched(cells, things(*pictures), Costs())
    chosen, counts = assigned(cells, centres, things(*pictures))
    for row, picture in enumerate(pictures):
        alone = Found(logits=cells.logits[row : row + 1], boxes=cells.boxes[row : row + 1])
        own, own_pairs = pairs.pictures == row, matched(alone, things(picture), Costs())
        assert pairs.queries[own].tolist() == own_pairs.queries.tolist()
        assert pairs.things[own].tolist() == own_pairs.things.tolist()
        own, (own_pairs, own_counts) = chosen.pictures == row, assigned(alone, centres, things(picture))
        assert chosen.queries[own].tolist() == own_pairs.queries.tolist()
        assert chosen.things[own].tolist() == own_pairs.things.tolist()
        torch.testing.assert_close(counts[own], own_counts)


def test_a_repeated_thing_has_several_queries():
    true = things((2, 3), (0, 1))
    repeated = true.repeated(3)
    assert repeated.counts == (6, 0)
    pairs = matched(found(9, 4, batch=2), repeated, Costs())
    assert len(set(pairs.queries.tolist())) == 6
    assert sorted((pairs.things % 2).tolist()) == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(repeated.boxes[0, 2:4], true.boxes[0])


def grid() -> tuple[Found, torch.Tensor]:
    """Cells of an 8 x 8 map, each with a box of a quarter of the picture around it, all alike."""
    steps = (torch.arange(8) + 0.5) / 8
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    centres = torch.stack((columns, rows), -1).flatten(0, 1)
    around = torch.cat((centres, torch.full((64, 2), 0.25)), -1)
    return Found(logits=torch.zeros(1, 64, 3), boxes=around[None]), centres


def test_cells_in_the_middle_of_a_thing_are_responsible_for_it():
    cells, centres = grid()
    true = Things.of([torch.tensor([[0.5, 0.5, 0.25, 0.25]])], [torch.tensor([1])])
    chosen, counts = assigned(cells, centres, true)
    assert sorted(chosen.queries.tolist()) == [27, 28, 35, 36], "only cells whose middle lies inside"
    overlap = iou(to_corners(cells.boxes[0, 27]), to_corners(true.boxes[0, 0]))[0]
    assert counts.tolist() == pytest.approx([float(overlap)] * 4)
    fewer, _ = assigned(cells, centres, true, most=2)
    assert len(fewer) == 2


def test_a_thing_between_cells_has_the_nearest_and_a_cell_has_one_thing():
    cells, centres = grid()
    thin, wide = torch.tensor([[0.5, 0.5, 0.01, 0.01]]), torch.tensor([[0.51, 0.51, 0.6, 0.6]])
    both = Things.of([torch.cat((thin, wide))], [torch.tensor([0, 2])])
    chosen, _ = assigned(cells, centres, both, most=64)
    assert len(set(chosen.queries.tolist())) == len(chosen)
    assert set(chosen.things.tolist()) <= {0, 1}
    one, _ = assigned(cells, centres, Things.of([thin], [torch.tensor([0])]))
    assert len(one) == 1


def test_what_is_right_costs_least():
    true = things((4, 5))
    pairs = Pairs(pictures=torch.zeros(4, dtype=torch.long), queries=torch.arange(4), things=torch.arange(4))
    right = torch.full((1, 6, 3), -20.0)
    right[0, torch.arange(4), true.labels[0]] = 20.0
    good = Found(logits=right, boxes=torch.cat((true.boxes[0], boxes(2, 1)))[None])
    best = float(of_queries(good, true, pairs, Weights(), 4))
    assert best == pytest.approx(0.0, abs=1e-4)
    moved = Found(logits=right, boxes=good.boxes + 0.05)
    turned = Found(logits=right.roll(1, -1), boxes=good.boxes)
    assert float(of_queries(moved, true, pairs, Weights(), 4)) > 0.1
    assert float(of_queries(turned, true, pairs, Weights(), 4)) > 1.0


def test_the_loss_of_classes_by_hand():
    logits, quality = torch.tensor([[0.3, -1.2], [0.4, -0.5]]), torch.tensor([[0.8, 0.0], [0.0, 0.0]])
    p = logits.sigmoid()
    target = 0.8**1.5
    responsible = -(target * p[0, 0].log() + (1 - target) * (1 - p[0, 0]).log()) - (1 - p[0, 1]).log()
    expected = responsible - (p[1] ** 1.5 * (1 - p[1]).log()).sum()
    torch.testing.assert_close(of_classes(logits, quality), expected)


def test_the_loss_of_cells_counts_them_by_their_weights():
    cells, centres = grid()
    true = Things.of([torch.tensor([[0.5, 0.5, 0.25, 0.25]])], [torch.tensor([1])])
    chosen, counts = assigned(cells, centres, true)
    only = Weights(label=0.0, overlap=0.0)
    off = 5.0 * (cells.boxes[0, chosen.queries] - true.boxes[0]).abs().sum(-1)
    expected = (off * counts).sum() / max(1.0, float(counts.sum()))
    assert float(of_cells(cells, true, chosen, counts, only)) == pytest.approx(float(expected))


@pytest.fixture(scope="module")
def model() -> Detector:
    torch.manual_seed(1)
    shape = Pyramid(dims=(8, 8, 8, 8), convolutions=(0, 0, 0, 0), attention=(0, 0, 0, 0))
    return Detector(VisualEncoder(shape), 3, dim=16, layers=1, heads=2, queries=5, points=2)


def test_noise_is_near_the_things_and_groups_do_not_see_each_other(model):
    true = things((3, 1), (1, 2))
    noise = denoising(model, true, 12)
    assert noise.queries.vectors.shape == (2, 2 * 2 * 3, 16)
    assert noise.things == 8
    assert noise.real[0].all()
    assert noise.real[1].tolist() == [True, False, False] * 4
    first = noise.pairs.pictures == 0
    queries, places = noise.pairs.queries[first], noise.pairs.things[first]
    assert queries.tolist() == [0, 1, 2, 6, 7, 8]
    assert places.tolist() == [0, 1, 2, 0, 1, 2]
    assert noise.pairs.queries[~first].tolist() == [0, 6]
    near = to_corners(noise.queries.boxes[0, queries]) - to_corners(true.boxes[0, places]).clamp(0, 1)
    limit = SHIFT * true.boxes[0, places][:, 2:].repeat(1, 2) / 2
    assert (near.abs() <= limit + 1e-5).all()
    assert noise.sees[:6, :6].all()
    assert not noise.sees[:6, 6:].any()
    assert denoising(model, true, 1).queries.vectors.shape[1] == 6, "one group at least"
    assert denoising(model, true, 0) is None
    assert denoising(model, things((0, 1)), 12) is None


def test_no_query_of_training_is_seen_by_those_of_prediction(model):
    own = Queries(vectors=torch.randn(2, 5, 16), boxes=torch.rand(2, 5, 4))
    more = Queries(vectors=torch.randn(2, 4, 16), boxes=torch.rand(2, 4, 4))
    noise = denoising(model, things((3, 1), (1, 2)), 1)
    whole = together(own, more, noise)
    assert whole.vectors.shape == (2, 5 + 4 + 6, 16)
    assert whole.sees[:, :5, :5].all()
    assert not whole.sees[:, :5, 5:].any()
    assert whole.sees[:, 5:9, 5:9].all()
    assert not whole.sees[:, 5:9, 9:].any()
    assert not whole.sees[1, 9:, 10].any(), "filling is seen by none"
    parts = parted(Found(logits=torch.randn(2, 15, 3), boxes=torch.rand(2, 15, 4)), [5, 4, 6])
    assert [part.logits.shape[1] for part in parts] == [5, 4, 6]
