"""The detector: cells that say what they are part of, queries that begin as the best of them and are refined."""

import pytest
import torch

from regard.attention import Weights, watch
from regard.models.boxes import to_corners
from regard.models.detector import PRIOR, Detector, Queries
from regard.models.vision import Pyramid, VisualEncoder

SHAPE = Pyramid(
    dims=(8, 16, 24, 32), convolutions=(1, 0, 0, 0), attention=(0, 0, 1, 0),
    attends=("none", "none", "global", "none"), head_dim=8,
)  # fmt: skip


def build(**options) -> Detector:
    torch.manual_seed(1)
    return Detector(
        VisualEncoder(SHAPE), 3, **{"dim": 16, "layers": 2, "heads": 2, "queries": 7, "points": 2, **options}
    )


def pictures(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(2)).byte()


def test_what_is_found_has_the_shape_of_the_queries():
    model = build().eval()
    found = model(pictures(2, 3, 64, 96))
    assert found.logits.shape == (2, 7, 3)
    assert found.boxes.shape == (2, 7, 4)
    assert ((found.boxes > 0) & (found.boxes < 1)).all()
    few = build(queries=1000).eval()(pictures(1, 3, 64, 64))
    assert few.logits.shape[1] == 64 + 16 + 4, "no more queries than cells"


def test_before_anything_is_learned_things_are_rare():
    model = build().eval()
    _, cells, _ = model.read(pictures(1, 3, 64, 64))
    assert float(cells.logits.detach().sigmoid().mean()) == pytest.approx(PRIOR, abs=0.01)


def test_a_cells_box_lies_around_its_middle():
    model = build().eval()
    given = pictures(2, 3, 64, 96)
    maps, cells, _ = model.read(given)
    centres = model.centres(maps, given)
    assert centres.shape == (8 * 12 + 4 * 6 + 2 * 3, 2)
    assert centres[0].tolist() == pytest.approx([4 / 96, 4 / 64])
    assert centres[-1].tolist() == pytest.approx([80 / 96, 48 / 64])
    corners = to_corners(cells.boxes)
    assert (corners[..., :2] < centres).all()
    assert (corners[..., 2:] > centres).all()


def test_queries_begin_as_the_surest_cells():
    model = build().eval()
    _, cells, vectors = model.read(pictures(2, 3, 64, 96))
    sure = cells.logits.amax(-1)
    queries = model.best(cells, vectors, 5)
    for row in range(2):
        order = sure[row].argsort(descending=True)[:5]
        torch.testing.assert_close(queries.boxes[row], cells.boxes[row, order].clamp(0, 1))
    assert not queries.boxes.requires_grad


def test_at_first_a_layer_leaves_boxes_where_they_are():
    model = build().eval()
    maps, cells, vectors = model.read(pictures(1, 3, 64, 96))
    queries = model.best(cells, vectors, 7)
    for found in model.refine(queries, maps):
        torch.testing.assert_close(found.boxes, queries.boxes.clamp(1e-4, 1 - 1e-4), atol=1e-5, rtol=1e-4)


def test_queries_that_are_not_seen_change_nothing():
    model = build().eval()
    maps, cells, vectors = model.read(pictures(1, 3, 64, 96))
    first = model.best(cells, vectors, 4)
    alone = model.refine(first, maps)[-1]
    others = torch.randn(1, 3, 16)
    sees = torch.zeros(1, 7, 7, dtype=torch.bool)
    sees[:, :4, :4] = sees[:, 4:, 4:] = True
    boxes = torch.cat((first.boxes, torch.rand(1, 3, 4)), 1)
    together = model.refine(Queries(vectors=torch.cat((first.vectors, others), 1), boxes=boxes, sees=sees), maps)[-1]
    torch.testing.assert_close(together.logits[:, :4], alone.logits, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.boxes[:, :4], alone.boxes, atol=1e-5, rtol=1e-4)


def test_queries_attend_to_each_other_and_to_points_of_their_boxes():
    model = build().eval()
    with watch(model, Weights(), layers=["layers.*"]) as seen:
        model(pictures(1, 3, 64, 96))
    shapes = {name: tuple(one.weights.shape) for name, one in seen.items()}
    assert shapes["layers.0.attention"] == (1, 2, 7, 7)
    assert shapes["layers.1.cross"] == (7, 2, 1, 3 * 4)
