"""On a GPU every call is what it is on a CPU: contexts, gradients, observations, and what chance drops."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.parity.cases import Case, cases
from tests.parity.test_backends import DTYPES, compare, missing
from torch import Tensor

import regard
from regard.attention.capabilities import TABLE, Feature
from regard.nn.attention import MultiHeadAttention
from regard.nn.box_attention import BoxAttention, Cells
from regard.ops.cross_entropy import linear_cross_entropy
from regard.ops.residual import add_dropout_norm

pytestmark = [
    pytest.mark.requires("gpu"),
    pytest.mark.filterwarnings("ignore:Attempting to run cuBLAS"),  # the first of a thread: torch says so, and does
]

THERE = [name for name, features in TABLE.items() if Feature.ACCELERATOR in features]
OBSERVATIONS = [
    regard.Weights(),
    regard.TopK(3),
    regard.Entropy(),
    regard.LogSumExp(),
    regard.Received(),
    regard.MaxScore(),
]
NORMALIZERS = [
    regard.Softmax(),
    regard.Sigmoid(),
    regard.Sparsemax(),
    regard.Entmax15(),
    regard.Entmax(1.3),
    regard.TopKSoftmax(3),
    regard.Hard(),
]


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64)


def both(run: Callable[..., object], *tensors: Tensor) -> None:
    """What `run` gives, and the gradients of `tensors`, on the CPU and on the GPU."""
    found = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        leaves = [tensor.detach().to(device).requires_grad_() for tensor in tensors]
        results = [each for each in flat(run(*leaves)) if each is not None]
        assert {each.device.type for each in results} == {device}
        whole = sum(each.square().sum() for each in results if each.requires_grad)
        found.append([each.detach().cpu() for each in (*results, *torch.autograd.grad(whole, leaves))])
    for here, there in zip(*found, strict=True):
        torch.testing.assert_close(there, here, rtol=1e-9, atol=1e-9)


def flat(found: object) -> list[Tensor]:
    """The tensors of a context with what was seen, or of one of them."""
    if isinstance(found, Tensor):
        return [found]
    found = found if isinstance(found, tuple | dict) else vars(found)
    parts = found.values() if isinstance(found, dict) else found
    return [tensor for part in parts if part is not None for tensor in flat(part)]


@pytest.mark.parametrize("backend", THERE)
@settings(max_examples=100)
@given(case=cases(), dtype=st.sampled_from(DTYPES))
def test_any_call_is_the_oracle_s(backend: str, case: Case, dtype: torch.dtype) -> None:
    if not missing(case, backend, dtype):
        compare(case, backend, dtype, "cuda")


@pytest.mark.parametrize("backend", ["streamed", "reference"])
@pytest.mark.parametrize("normalize", NORMALIZERS, ids=lambda each: type(each).__name__)
def test_normalizers(normalize: regard.Normalizer, backend: str) -> None:
    options = {"normalize": normalize, "mask": regard.Causal() & regard.Window(4), "backend": backend}
    both(lambda *tensors: regard.attend(*tensors, **options), *draw(3, 2, 3, 9, 5))


@pytest.mark.parametrize("backend", ["streamed", "reference"])
@pytest.mark.parametrize("item", OBSERVATIONS, ids=lambda each: type(each).__name__)
def test_observations(item: regard.Observation, backend: str) -> None:
    options = {"record": [item], "mask": regard.Lengths([9, 4]), "backend": backend}
    both(lambda *tensors: regard.observe(*tensors, **options), *draw(3, 2, 3, 9, 5))


@pytest.mark.parametrize("backend", ["streamed", "reference"])
def test_dropout_drops_the_same_weights(backend: str) -> None:
    both(lambda *tensors: regard.attend(*tensors, dropout=0.4, backend=backend), *draw(3, 2, 3, 9, 5))


def test_terms_by_position_are_made_where_the_queries_are() -> None:
    score = regard.ScaledDot() + regard.Alibi(3)
    both(lambda *tensors: regard.attend(*tensors, score=score, mask=regard.Causal()), *draw(3, 2, 3, 9, 5))


def test_residual_rows_drop_the_same_features() -> None:
    both(lambda *tensors: add_dropout_norm(*tensors, p=0.3, seed=11), draw(4, 8), draw(4, 8), draw(8), draw(8))


def test_cross_entropy() -> None:
    target = torch.tensor([1, 5, 0, 2])

    def loss(hidden: Tensor, weight: Tensor) -> Tensor:
        return linear_cross_entropy(hidden, weight, target.to(hidden.device), label_smoothing=0.1)

    both(loss, draw(4, 8), draw(6, 8))


def test_attention_within_boxes() -> None:
    """The CPU's kernel, and the keys laid out on the GPU."""
    attention, maps = BoxAttention(8, 2, levels=2, points=3), torch.randn(2, 8, 6, 5)
    boxes = torch.tensor([[[0.5, 0.5, 0.3, 0.4]], [[0.1, 0.9, 0.5, 0.2]]])
    query = torch.randn(2, 1, 8)
    expected = attention(query, boxes, Cells.of([maps, maps[..., ::2, ::2]]))
    there = maps.cuda()
    found = attention.cuda()(query.cuda(), boxes.cuda(), Cells.of([there, there[..., ::2, ::2]]))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_a_watched_layer_under_autocast(dtype: torch.dtype) -> None:
    """Weights are seen of a layer that runs in 16 bits, and are near those of one that does not."""
    layer, inputs = MultiHeadAttention(32, 4).cuda(), torch.randn(2, 7, 32, device="cuda")
    with regard.watch(layer, regard.Weights()) as seen:
        plain = layer(inputs)
    with regard.watch(layer, regard.Weights()) as low, torch.autocast("cuda", dtype):
        near = layer(inputs)
    torch.testing.assert_close(near.float(), plain, rtol=0.05, atol=0.05)
    torch.testing.assert_close(low[""].weights.float(), seen[""].weights.float(), rtol=0.05, atol=0.02)


def test_memory_of_what_is_seen_grows_with_the_length() -> None:
    """Twice the keys, less than thrice the memory: no matrix of weights."""
    held = []
    for length in (8192, 16384):
        query, key, value = torch.randn(3, 1, 4, length, 32, device="cuda").unbind()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        regard.observe(query, key, value, record=[regard.TopK(4), regard.Entropy()], mask=regard.Causal())
        held.append(torch.cuda.max_memory_allocated() - before)
    assert held[1] < 3 * held[0]
    assert held[1] < 4 * 4 * 16384**2 / 3, "a third of the matrix of weights"


@pytest.mark.parametrize("mask", [None, regard.Causal()], ids=str)
def test_a_call_like_one_before_runs_the_same(mask: regard.Mask | None) -> None:
    """The short way of such calls has the errors of the long one."""
    tensors = [tensor.cuda().requires_grad_() for tensor in draw(3, 2, 3, 9, 5)]
    first, again = (regard.attend(*tensors, mask=mask) for _ in range(2))
    assert torch.equal(first, again)
    torch.testing.assert_close(again, regard.attend(*tensors, mask=mask, backend="reference"))
    with pytest.raises(ValueError, match='backend "native" lacks what this call needs'):
        regard.attend(*tensors, mask=mask, backend="native")
    with pytest.raises(ValueError, match="query is on cuda:0 but key is on cpu; move it"):
        regard.attend(tensors[0], tensors[1].cpu(), tensors[2], mask=mask)


def test_windows_run_fused_up_to_a_larger_size() -> None:
    query, key, value = torch.randn(3, 1, 8, 4096, 16, device="cuda").unbind()
    mask = regard.Causal() & regard.Window(255)
    assert regard.plan(query, key, value, mask=mask).backend == "sdpa"
    expected = regard.attend(query, key, value, mask=mask, backend="streamed")
    torch.testing.assert_close(regard.attend(query, key, value, mask=mask), expected, rtol=1e-3, atol=1e-4)
