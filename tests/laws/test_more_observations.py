"""MaxScore, Total, Mass, Distance, Pooled and Rows: each against its formula, in plain loops, however many blocks."""

import math
import re
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.scenes import Scene, close_of, dtype_of, expressions, few, scenes
from torch import Tensor

import regard
from regard.attention.backends import streamed
from regard.attention.capabilities import TABLE, Feature

ABLE = [name for name, features in TABLE.items() if Feature.OBSERVE in features]
WIDE = {"dtype": torch.float64}


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """So that a call is several blocks of queries, heads and rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(streamed.BLOCK, "cpu", 40)
        yield


def refuses(error: type[Exception], text: str) -> pytest.RaisesExc:
    return pytest.raises(error, match=re.escape(text))


def tensors_of(scene: Scene, backend: str = "reference") -> list[Tensor]:
    query = torch.randn(scene.batch, scene.heads, scene.queries, 3, dtype=dtype_of(backend))
    key, value = torch.randn(2, scene.batch, scene.heads, scene.keys, 3, dtype=dtype_of(backend))
    return [query, key, value]


SCENE = Scene(batch=2, heads=3, queries=5, keys=7)


def observe(
    record: dict[str, regard.Observation], scene: Scene = SCENE, *, backend: str = "reference", **options: object
) -> regard.Seen:
    return regard.observe(*tensors_of(scene, backend), record=record, backend=backend, **options)[1]


@pytest.mark.parametrize("backend", ABLE)
@few
@given(data=st.data())
def test_formulas(backend: str, data: st.DataObject) -> None:
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    sees = drawn.matrix(scene)
    query, key, value = tensors_of(scene, backend)
    close = close_of(backend)
    index = st.integers(-scene.keys, scene.keys - 1)
    chosen = data.draw(st.lists(index, max_size=3))
    marked = torch.rand(scene.batch, scene.keys) < 0.5
    rows = data.draw(st.lists(st.integers(-scene.queries, scene.queries - 1), min_size=1, max_size=4))
    height, width = data.draw(st.integers(1, 7)), data.draw(st.integers(1, 7))
    record = {
        "weights": regard.Weights(),
        "maxscore": regard.MaxScore(),
        "total": regard.Total(),
        "mass": regard.Mass(chosen),
        "marked": regard.Mass(marked),
        "first": regard.Mass(marked[0]),
        "distance": regard.Distance(),
        "pooled": regard.Pooled(height, width),
        "rows": regard.Rows(rows),
    }
    normalize = data.draw(st.sampled_from((regard.Softmax(), regard.Sigmoid(), regard.Softmax(sink=0.5))))
    options = {"mask": drawn.mask, "offset": scene.offsets, "backend": backend, "normalize": normalize}
    context, seen = regard.observe(query, key, value, record=record, **options)
    scores = (query @ key.mT / math.sqrt(3)).tolist()
    plain = regard.attend(query, key, value, **options)  # native's plain softmax differs in its last bits
    assert torch.equal(context, plain) or backend == "native"
    torch.testing.assert_close(context, plain)
    assert torch.equal(seen.rows, seen.weights[:, :, rows])
    numbers = {j % scene.keys for j in chosen}
    for b in range(scene.batch):
        for h in range(scene.heads):
            pooled = [[0.0] * width for _ in range(height)]
            counts = [0] * height
            for i in range(scene.queries):
                weights = seen.weights[b, h, i].tolist()
                keys = sees[b, h, i].nonzero().flatten().tolist()
                assert float(seen.maxscore[b, h, i]) == pytest.approx(
                    max((scores[b][h][i][j] for j in keys), default=-math.inf), **close
                )
                total = sum(weights)
                assert float(seen.total[b, h, i]) == pytest.approx(total, **close)
                assert float(seen.mass[b, h, i]) == pytest.approx(sum(weights[j] for j in numbers), **close)
                for name, row in (("marked", b), ("first", 0)):
                    mass = sum(weights[j] for j in range(scene.keys) if marked[row, j])
                    assert float(seen[name][b, h, i]) == pytest.approx(mass, **close)
                far = sum(weights[j] * abs(j - scene.stand(b, i)) for j in range(scene.keys))
                assert float(seen.distance[b, h, i]) == pytest.approx(far / total if total else 0.0, **close)
                counts[i * height // scene.queries] += 1
                for j, weight in enumerate(weights):
                    pooled[i * height // scene.queries][j * width // scene.keys] += weight
            expected = [[cell / max(count, 1) for cell in line] for line, count in zip(pooled, counts, strict=True)]
            for found, line in zip(seen.pooled[b, h].tolist(), expected, strict=True):
                assert found == pytest.approx(line, **close)


@pytest.mark.parametrize("backend", ABLE)
@pytest.mark.parametrize(
    "item",
    [
        regard.MaxScore(),
        regard.Total(),
        regard.Mass([0, -1]),
        regard.Distance(),
        regard.Pooled(2, 3),
        regard.Rows([-1, 2, 2]),
    ],
    ids=repr,
)
def test_gradients_are_those_of_the_weights(item: regard.Observation, backend: str) -> None:
    """Where an observation says that it has one; elsewhere it has none."""
    query, key, value = (tensor.requires_grad_() for tensor in tensors_of(SCENE, backend))
    options = {"normalize": regard.Sigmoid(), "mask": regard.Causal(), "offset": 1}
    (result,) = regard.observe(query, key, value, record=[item], backend=backend, **options)[1].values()
    assert result.requires_grad == item.has_gradient
    if not item.has_gradient:
        return
    _, seen = regard.observe(query, key, value, record=[regard.Weights()], backend="reference", **options)
    reduced = {
        "total": lambda weights: weights.sum(-1),
        "mass": lambda weights: weights[..., 0] + weights[..., -1],
        "rows": lambda weights: weights[:, :, [-1, 2, 2]],
    }[item.name](seen.weights)
    probe = torch.randn_like(reduced)
    for one, other in zip(
        torch.autograd.grad((result * probe).sum(), (query, key)),
        torch.autograd.grad((reduced * probe).sum(), (query, key)),
        strict=True,
    ):
        torch.testing.assert_close(one, other)


def test_one_can_regularise_on_them() -> None:
    """A step down the gradient of the weight on the first key takes some of it away."""
    query, key, value = tensors_of(SCENE)
    query.requires_grad_()

    def mass() -> Tensor:
        return regard.observe(query, key, value, record=[regard.Mass([0])])[1].mass.mean()

    before = mass()
    (gradient,) = torch.autograd.grad(before, query)
    with torch.no_grad():
        query -= 0.5 * gradient
    assert mass().item() < before.item()


# The entropy of what does not sum to one


@pytest.mark.parametrize("backend", ABLE)
@pytest.mark.parametrize(
    "normalize", [regard.Sigmoid(), regard.Softmax(sink=0.0), regard.Softmax(sink=torch.zeros(3))], ids=repr
)
def test_entropy_of_weights_that_do_not_sum_to_one_brings_their_total(
    normalize: regard.Normalizer, backend: str
) -> None:
    seen = observe({"it": regard.Entropy(), "weights": regard.Weights()}, normalize=normalize, backend=backend)
    assert list(seen) == ["it", "weights", "total"]
    torch.testing.assert_close(seen.total, seen.weights.sum(-1))
    torch.testing.assert_close(seen.it, -(seen.weights * seen.weights.log()).sum(-1))


def test_total_is_brought_where_it_is_needed_and_once() -> None:
    for normalize in (regard.Softmax(), regard.Sparsemax(), regard.Hard()):
        assert list(observe({"entropy": regard.Entropy()}, normalize=normalize)) == ["entropy"]
    assert list(observe({"mass": regard.Mass([0])}, normalize=regard.Sigmoid())) == ["mass"]
    both = {"total": regard.Total(), "entropy": regard.Entropy()}
    assert list(observe(both, normalize=regard.Sigmoid())) == ["total", "entropy"]


# By hand


def test_by_hand() -> None:
    """Two queries and four keys with the weights 1, 2, 5 and 0 of 8, and 0, 0, 0 and 1."""
    query = torch.eye(2, **WIDE).view(1, 1, 2, 2)
    key = torch.tensor([[1.0, 2.0, 5.0, 0.0], [0.0, 0.0, 0.0, 1.0]], **WIDE).log().mT.view(1, 1, 4, 2)
    key = key.clamp_min(-1e9)
    record = [
        regard.MaxScore(),
        regard.Total(),
        regard.Mass([0, -2]),
        regard.Distance(),
        regard.Pooled(1, 2),
        regard.Rows([1]),
    ]
    _, seen = regard.observe(query, key, key, score=regard.Dot(), record=record, offset=1)
    assert seen.maxscore.flatten().tolist() == pytest.approx([math.log(5), 0.0])
    assert seen.total.flatten().tolist() == pytest.approx([1.0, 1.0])
    assert seen.mass.flatten().tolist() == pytest.approx([6 / 8, 0.0])
    assert seen.distance.flatten().tolist() == pytest.approx([(1 + 5) / 8, 1.0])  # they stand at keys 1 and 2
    assert seen.pooled.flatten().tolist() == pytest.approx([3 / 16, (5 / 8 + 1) / 2])
    assert seen.rows.flatten().tolist() == pytest.approx([0.0, 0.0, 0.0, 1.0])


def test_a_map_keeps_its_sum() -> None:
    """Summed over keys, averaged over queries: the cells of a row of the picture add up to one."""
    for height, width in ((1, 1), (2, 3), (5, 7), (3, 11)):
        pooled = observe({"pooled": regard.Pooled(height, width)}).pooled
        assert pooled.shape == (2, 3, height, width)
        torch.testing.assert_close(pooled.sum(-1), torch.ones(2, 3, height, **WIDE), rtol=1e-12, atol=1e-12)
    fine = observe({"pooled": regard.Pooled(5, 7), "weights": regard.Weights()})
    torch.testing.assert_close(fine.pooled, fine.weights, rtol=1e-12, atol=1e-12)
    taller = observe({"pooled": regard.Pooled(7, 1)}).pooled.sum(-1)[0, 0]
    assert sorted(taller.tolist()) == pytest.approx([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0])  # rows without a query


def test_max_score_is_of_the_scores_as_they_are() -> None:
    """Terms are in it; the temperature of the normaliser is not."""
    query, key, value = tensors_of(SCENE)
    bias = torch.randn(5, 7, **WIDE)
    score = regard.Dot() + regard.Bias(bias)
    _, seen = regard.observe(query, key, value, score=score, normalize=regard.Softmax(3.0), record=[regard.MaxScore()])
    torch.testing.assert_close(seen.maxscore, (query @ key.mT + bias).amax(-1))


def test_nothing_is_chosen() -> None:
    seen = observe({"mass": regard.Mass([]), "marked": regard.Mass(torch.zeros(7, dtype=torch.bool))})
    assert seen.mass.shape == (2, 3, 5)
    assert not seen.mass.any()
    assert not seen.marked.any()
    assert observe({"rows": regard.Rows([])}).rows.shape == (2, 3, 0, 7)


@pytest.mark.parametrize("backend", ABLE)
@pytest.mark.parametrize(("queries", "keys", "batch"), [(5, 0, 2), (0, 7, 2), (0, 0, 2), (5, 7, 0)])
def test_sizes_of_nothing(backend: str, queries: int, keys: int, batch: int) -> None:
    scene = Scene(batch=batch, heads=3, queries=queries, keys=keys)
    record = {
        "maxscore": regard.MaxScore(),
        "total": regard.Total(),
        "mass": regard.Mass([0] if keys else []),
        "distance": regard.Distance(),
        "pooled": regard.Pooled(2, 3),
        "rows": regard.Rows([-1, 0] if queries else []),
    }
    seen = observe(record, scene, mask=regard.Causal(), backend=backend)
    for name in ("maxscore", "total", "mass", "distance"):
        assert seen[name].shape == (batch, 3, queries)
    assert seen.pooled.shape == (batch, 3, 2, 3)
    assert seen.rows.shape == (batch, 3, 2 if queries else 0, keys)
    assert bool((seen.maxscore == -torch.inf).all()) or keys > 0
    assert keys > 0 or not any(seen[name].any() for name in ("total", "mass", "distance", "pooled", "rows"))


# What does not fit


@pytest.mark.parametrize(
    ("item", "text"),
    [
        (regard.Mass([0, 7]), "Mass([0, 7]) chooses keys that are not among the 7 of the call"),
        (regard.Mass([-8]), "Mass([-8]) chooses keys that are not among the 7 of the call"),
        (
            regard.Mass(torch.ones(5, dtype=torch.bool)),
            "Mass((5,)) chooses by booleans of shape (5,), but the call has 7 keys in 2 rows",
        ),
        (
            regard.Mass(torch.ones(3, 7, dtype=torch.bool)),
            "Mass((3, 7)) chooses by booleans of shape (3, 7), but the call has 7 keys in 2 rows",
        ),
        (regard.Rows([0, 5]), "Rows([0, 5]) asks for query 5, but the call has 5 queries"),
        (regard.Rows([-6, 0]), "Rows([-6, 0]) asks for query -6, but the call has 5 queries"),
    ],
    ids=repr,
)
def test_they_fit_the_call(item: regard.Observation, text: str) -> None:
    with refuses(ValueError, text):
        observe({"it": item})
    query, key, value = tensors_of(SCENE)
    with refuses(ValueError, text):
        regard.plan(query, key, value, record=[item])


@pytest.mark.usefixtures("unchecked")
def test_keys_are_whole_numbers() -> None:
    for keys in (torch.tensor([0.5]), [0.5]):
        with refuses(TypeError, "chooses keys by whole numbers or booleans, not by torch.float32"):
            observe({"it": regard.Mass(keys)})


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, -1)])
def test_a_map_has_a_size(rows: int, columns: int) -> None:
    with refuses(ValueError, f"Pooled needs rows >= 1 and columns >= 1, got {rows} and {columns}"):
        regard.Pooled(rows, columns)
