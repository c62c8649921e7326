"""What recurrent decoders add: the weights of the step before, and a Gaussian around where they expect to look."""

import math
import re

import pytest
import torch
from tests.laws.mechanism import WIDE
from torch import Tensor

import regard

BATCH, HEADS, KEYS, DIM, HIDDEN, FILTERS = 2, 3, 7, 5, 4, 2
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def refuses(text: str) -> pytest.RaisesExc:
    return pytest.raises(ValueError, match=re.escape(text))


def draw(queries: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """The decoder's states, and the keys and values of its source."""
    state = torch.randn(BATCH, HEADS, queries, DIM, **WIDE)
    key, value = torch.randn(2, BATCH, HEADS, KEYS, DIM, **WIDE)
    return state, key, value


def aware(kernel: int = 3) -> regard.LocationAware:
    return regard.LocationAware(DIM, HIDDEN, heads=HEADS, filters=FILTERS, kernel=kernel, **WIDE)


# LocationAware


@pytest.mark.parametrize("kernel", [1, 3, 11], ids=str)  # the last is wider than the keys
def test_location_aware_is_its_formula(kernel: int) -> None:
    """`w . tanh(W_q query + W_k key + U f)` with `f[j] = sum_m F[m] previous[j + m - kernel // 2]`, in loops."""
    score, (state, key, value) = aware(kernel), draw()
    previous = torch.rand(BATCH, HEADS, KEYS, **WIDE)
    keys = score.after(score.prepare(key), previous)
    _, seen = regard.observe(state, keys, value, score=score, record=[regard.Weights()])
    scores = torch.empty(BATCH, HEADS, 1, KEYS, **WIDE)
    for b in range(BATCH):
        for h in range(HEADS):
            for j in range(KEYS):
                features = torch.zeros(FILTERS, **WIDE)
                for m in range(kernel):
                    at = j + m - kernel // 2
                    if 0 <= at < KEYS:
                        features = features + score.convolution.weight[:, 0, m] * previous[b, h, at]
                hidden = state[b, h, 0] @ score.query_weight[h] + key[b, h, j] @ score.key_weight[h]
                hidden = hidden + features @ score.location_weight[h]
                scores[b, h, 0, j] = hidden.tanh() @ score.weight[h]
    torch.testing.assert_close(seen.weights, scores.softmax(-1), **EXACT)


def test_having_looked_nowhere_is_additive_attention() -> None:
    score, (state, key, value) = aware(), draw()
    nowhere = score.after(score.prepare(key), torch.zeros(BATCH, HEADS, KEYS, **WIDE))
    plain = regard.attend(state, key, value, score=score)
    torch.testing.assert_close(regard.attend(state, nowhere, value, score=score), plain, **EXACT)
    assert isinstance(score, regard.Additive)


def test_a_decoder_learns_through_all_its_steps() -> None:
    """As the class describes it: the weights of one step are the location of the next."""
    score, (state, key, value) = aware(), draw()
    state.requires_grad_()
    keys, previous = score.prepare(key), torch.zeros(BATCH, HEADS, KEYS, **WIDE)
    previous[..., 0] = 1.0
    for step in range(3):
        context, seen = regard.observe(
            state * (step + 1),
            score.after(keys, previous),
            value,
            score=score,
            mask=regard.Lengths([KEYS, 4]),
            record=[regard.Weights()],
        )
        previous = seen.weights[..., 0, :]
        assert not previous[1, :, 4:].any()
    gradients = torch.autograd.grad(context.sum(), [state, *score.parameters()])
    assert all(bool(gradient.isfinite().all()) and bool(gradient.any()) for gradient in gradients)


def test_weights_of_another_dtype_are_taken() -> None:
    """Weights are recorded in float32 where the call is in 16 bits."""
    score = regard.LocationAware(DIM, HIDDEN, heads=HEADS, filters=FILTERS, kernel=3)
    state, key, value = (tensor.bfloat16() for tensor in draw())
    keys = score.after(score.prepare(key), torch.rand(BATCH, HEADS, KEYS))
    assert keys.keys.dtype == torch.bfloat16
    assert regard.attend(state, keys, value, score=score).dtype == torch.bfloat16


@pytest.mark.usefixtures("unchecked")
def test_location_aware_says_what_it_takes() -> None:
    with refuses("LocationAware centers its filters on a key, so kernel must be odd, got 4"):
        regard.LocationAware(DIM, HIDDEN, kernel=4)
    score, (_, key, _) = aware(), draw()
    text = "after takes what this score has prepared and the weights of one query, (batch, heads, keys) = (2, 3, 7); "
    for shape in ((BATCH, HEADS, 5), (BATCH, KEYS), (BATCH, HEADS, 1, KEYS)):
        with refuses(text + f"got weights {shape}"):
            score.after(score.prepare(key), torch.zeros(shape, **WIDE))
    with refuses(text):
        score.after(aware().prepare(key), torch.zeros(BATCH, HEADS, KEYS, **WIDE))


# LocalPosition and Near


@pytest.mark.parametrize("window", [1, 4])
def test_local_position_is_its_formula(window: int) -> None:
    """`p = S sigmoid(v . tanh(W state))`, and `-(j - p)^2 / (2 (D / 2)^2)` on every score."""
    state, key, value = draw(queries=2)
    local, lengths = regard.LocalPosition(DIM, window, hidden=3).double().requires_grad_(False), torch.tensor([KEYS, 4])
    term = local(state, lengths)
    _, seen = regard.observe(
        state, key, value, score=regard.ScaledDot() + term, mask=regard.Lengths(lengths), record=[regard.Weights()]
    )
    for b in range(BATCH):
        for h in range(HEADS):
            for i in range(2):
                hidden = torch.tanh(local.inner.weight @ state[b, h, i])
                share = 1 / (1 + math.exp(-float(local.outer.weight[0] @ hidden)))
                center = int(lengths[b]) * share
                assert float(term.center[b, h, i]) == pytest.approx(center, rel=1e-12)
                scores = [
                    float(state[b, h, i] @ key[b, h, j]) / math.sqrt(DIM) - (j - center) ** 2 / (2 * (window / 2) ** 2)
                    for j in range(int(lengths[b]))
                ]
                expected = [*torch.tensor(scores, **WIDE).softmax(-1).tolist(), *[0.0] * (KEYS - len(scores))]
                assert seen.weights[b, h, i].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-14)


def test_near_by_hand() -> None:
    """Scores of zero with a Gaussian at key 1.5, of width 2: the weights are the Gaussian's."""
    key, value = torch.randn(2, 1, 1, 4, 3, **WIDE)
    term = regard.Near(torch.tensor([[[1.5]]], **WIDE), 2.0)
    nothing = torch.zeros(1, 1, 1, 3, **WIDE)
    _, seen = regard.observe(nothing, key, value, score=regard.Dot() + term, record=[regard.Weights()])
    heights = [math.exp(-((j - 1.5) ** 2) / 8) for j in range(4)]
    assert seen.weights.flatten().tolist() == pytest.approx([height / sum(heights) for height in heights], rel=1e-14)


def test_near_learns_where_to_look() -> None:
    """With values that are higher to the right, a step up the gradient moves the Gaussian to the right."""
    center = torch.full((1, 1, 1), 2.0, **WIDE).requires_grad_()
    nothing, value = torch.zeros(1, 1, 1, 1, **WIDE), torch.arange(5, **WIDE).view(1, 1, 5, 1)
    for backend in ("reference", "streamed"):
        score = regard.Dot() + regard.Near(center, 1.0)
        context = regard.attend(nothing, torch.zeros_like(value), value, score=score, backend=backend)
        assert context.item() == pytest.approx(2.0)
        assert float(torch.autograd.grad(context.sum(), center)[0]) > 0.5


def test_local_position_has_a_window() -> None:
    with refuses("LocalPosition needs a window >= 1, got 0"):
        regard.LocalPosition(DIM, 0)
    with refuses("LocalPosition needs a window >= 1, got -3"):
        regard.LocalPosition(DIM, -3)
