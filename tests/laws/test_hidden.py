"""What nobody may see reaches nothing, be it NaN; what may be seen reaches those who see it, and nobody else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.scenes import Meaning, Scene, dtype_of, expressions, few, scenes
from torch import Tensor

import regard
from regard.attention.capabilities import TABLE, Feature
from regard.attention.lowering import lower_mask

STRANGE = (torch.nan, torch.inf, -torch.inf)
PROMISED = [name for name, features in TABLE.items() if Feature.HIDDEN_NAN in features]


WIDTHS = st.sampled_from(((3, 3, 5), (16, 16, 32)))  # of the second, native computes small heads as a whole


def draw(scene: Scene, backend: str, widths: tuple[int, int, int] = (3, 3, 5)) -> list[Tensor]:
    lengths = (scene.queries, scene.keys, scene.keys)
    return [
        torch.randn(scene.batch, scene.heads, length, width, dtype=dtype_of(backend))
        for length, width in zip(lengths, widths, strict=True)
    ]


def runs(backend: str, drawn: Meaning, scene: Scene) -> bool:
    """Whether the backend takes masks such as this one."""
    return Feature.PATTERN in TABLE[backend] or lower_mask(drawn.mask, scene.place()).bounds is not None


def test_the_reference_promises_it() -> None:
    assert "reference" in PROMISED


@pytest.mark.parametrize("backend", PROMISED)
@given(data=st.data())
def test_what_nobody_may_see_reaches_nothing(backend: str, data: st.DataObject) -> None:
    """Neither contexts, nor observations, nor any gradient, a learned score's among them."""
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    strange, widths = data.draw(st.sampled_from(STRANGE)), data.draw(WIDTHS)
    width = widths[0]
    score: regard.Score = regard.ScaledDot()
    if data.draw(st.booleans()):
        options = {"heads": scene.heads, "dtype": dtype_of(backend)}
        additive = Feature.ADDITIVE in TABLE[backend]
        score = regard.Additive(width, 2, **options) if additive else regard.General(width, **options)
    if not runs(backend, drawn, scene):
        return
    sees = drawn.matrix(scene)
    clean = draw(scene, backend, widths)
    dirty = [tensor.clone() for tensor in clean]
    dirty[0][~sees.any(-1)] = strange
    for tensor in dirty[1:]:
        tensor[~sees.any(-2)] = strange
    probe = torch.randn(scene.batch, scene.heads, scene.queries, widths[2], dtype=dtype_of(backend))
    results = []
    for tensors in (clean, dirty):
        learned = list(score.parameters()) if isinstance(score, torch.nn.Module) else []
        leaves = [tensor.requires_grad_() for tensor in tensors] + learned
        call = {"score": score, "mask": drawn.mask, "offset": scene.offsets, "backend": backend}
        if Feature.OBSERVE in TABLE[backend]:
            record = [regard.Entropy(), regard.Received(), regard.LogSumExp()]
            context, seen = regard.observe(*tensors, record=record, **call)
            loss = (context * probe).sum() + seen.entropy.sum() + seen.received.square().sum()
            loss = loss + seen.logsumexp[sees.any(-1)].sum()
        else:
            context, seen = regard.attend(*tensors, **call), {}
            loss = (context * probe).sum()
        gradients = torch.autograd.grad(loss, leaves)
        results.append([context, *seen.values(), *gradients])
    for expected, given_ in zip(*results, strict=True):
        if backend == "native":  # which goes pair by pair where it meets a NaN
            torch.testing.assert_close(given_, expected)
        else:
            assert torch.equal(given_, expected)


@pytest.mark.parametrize("backend", [name for name in PROMISED if Feature.PATTERN in TABLE[name]])
@few
@given(data=st.data())
def test_heads_that_share_a_key_hide_it_for_themselves(backend: str, data: st.DataObject) -> None:
    """A strange key that only some heads of a group may see is hidden from the others, forward and backward."""
    seed = data.draw(st.integers(0, 999))
    allowed = torch.rand(2, 6, 5, 7, generator=torch.Generator().manual_seed(seed)) < 0.3
    query = torch.randn(2, 6, 5, 3, dtype=dtype_of(backend), requires_grad=True)
    key, value = torch.randn(2, 2, 2, 7, 3, dtype=dtype_of(backend))
    data.draw(st.sampled_from((key, value)))[1, 0, 4] = torch.nan
    context = regard.attend(query, key, value, mask=regard.Dense(allowed), backend=backend)
    expected = torch.zeros(2, 6, 5, dtype=torch.bool)
    expected[1, :3] = allowed[1, :3, :, 4]
    assert torch.equal(context.isnan().any(-1), expected)
    context.sum().backward()
    hidden = ~expected.any(-1)  # the heads to which nothing is strange
    assert query.grad[hidden].isfinite().all()


@pytest.mark.parametrize("backend", PROMISED)
@pytest.mark.parametrize("which", ["query", "key", "value"])
@few
@given(data=st.data())
def test_what_may_be_seen_reaches_those_who_see_it(backend: str, which: str, data: st.DataObject) -> None:
    scene = data.draw(scenes())
    drawn = data.draw(expressions(scene))
    if not runs(backend, drawn, scene):
        return
    sees = drawn.matrix(scene)
    query, key, value = draw(scene, backend, data.draw(WIDTHS))
    row, head = data.draw(st.integers(0, scene.batch - 1)), data.draw(st.integers(0, scene.heads - 1))
    length = scene.queries if which == "query" else scene.keys
    place = (row, head, data.draw(st.integers(0, length - 1)))
    expected = torch.zeros(scene.batch, scene.heads, scene.queries, dtype=torch.bool)
    if which == "query":
        query[place] = torch.nan
        expected[place] = sees[place].any()
    else:
        (key if which == "key" else value)[place] = torch.nan
        expected[row, head] = sees[row, head, :, place[2]]
    context = regard.attend(query, key, value, mask=drawn.mask, offset=scene.offsets, backend=backend)
    assert torch.equal(context.isnan().any(-1), expected)
    assert torch.equal(context.isnan().all(-1), expected)


@pytest.mark.parametrize("backend", PROMISED)
def test_one_strange_number_of_a_value_reaches_its_own_column(backend: str) -> None:
    query, key, value = draw(Scene(batch=2, heads=3, queries=5, keys=7), backend)
    value[0, 1, 3, 2], value[0, 1, 4, 2] = torch.inf, torch.nan
    context = regard.attend(query, key, value, mask=regard.Causal(), backend=backend)
    expected = torch.ones_like(context, dtype=torch.bool)
    expected[0, 1, 3:, 2] = False
    assert torch.equal(context.isfinite(), expected)
    assert float(context[0, 1, 3, 2]) == torch.inf
    assert context[0, 1, 4, 2].isnan()
