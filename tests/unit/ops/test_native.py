"""The native kernels: each instruction set against the reference, and what goes on around them."""

import copy
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

import regard
from regard.attention.place import Place
from regard.ops import native
from regard.ops.attention import attention_and_logsumexp

pytestmark = [pytest.mark.requires("native"), pytest.mark.usefixtures("unchecked")]
SETS = [name for name, supported in native.instruction_sets().items() if supported]
LENGTHS = [(0, 5), (5, 0), (1, 1), (1, 1000), (7, 63), (63, 129), (129, 7), (777, 1000)]


@pytest.fixture(params=SETS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test on one instruction set."""
    assert native.use(request.param) == request.param == native.in_use()
    yield request.param
    native.use(None)


@pytest.fixture
def threads() -> Iterator[None]:
    yield
    torch.set_num_threads(1)


def inputs(queries: int, keys: int, *, width: int = 13, value_width: int = 10, dtype=torch.float32) -> list[Tensor]:
    shapes = ((2, 4, queries, width), (2, 2, keys, width), (2, 2, keys, value_width))
    return [torch.randn(shape).to(dtype).requires_grad_() for shape in shapes]


def results(tensors: list[Tensor], learned: Sequence[Tensor] = (), *, backend: str, **options: object) -> list[Tensor]:
    """Context and gradients, as float64."""
    torch.manual_seed(3)
    context = regard.attend(*tensors, backend=backend, **options)
    probe = torch.linspace(-1.0, 1.0, context.numel()).view(context.shape).to(context.dtype)
    return [tensor.double() for tensor in (context, *torch.autograd.grad(context, [*tensors, *learned], probe))]


def masks(lengths: list[int]) -> list[regard.Mask | None]:
    some = regard.Causal() & regard.Window(29) | regard.Prefix(3)
    return [None, regard.Causal(), some, regard.Lengths(lengths)]


def close(ours: list[Tensor], exact: list[Tensor], few: float) -> None:
    """Every entry to a share of itself, of the largest, or of one: with a single key gradients are zero in truth."""
    for one, other in zip(ours, exact, strict=True):
        assert one.isfinite().all()
        largest = float(other.detach().abs().max()) if other.numel() else 0.0
        torch.testing.assert_close(one, other, rtol=few, atol=few * max(largest, 1.0))


@pytest.mark.parametrize(("queries", "keys"), LENGTHS)
def test_each_set_is_the_reference(queries: int, keys: int, threads: None) -> None:
    """On one thread and on two."""
    batch = 1 if queries * keys > 2**16 else 2  # the reference holds matrices
    for dtype, mask in product((torch.float32, torch.bfloat16), masks([keys // 2, max(keys - 3, 0)][:batch])):
        tensors = [tensor[:batch].detach().requires_grad_() for tensor in inputs(queries, keys, dtype=dtype)]
        options = {"mask": mask, "offset": keys - queries, "dropout": 0.2}
        wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
        exact = results(wide, backend="reference", **options)
        few = {torch.float32: 40, torch.bfloat16: 2}[dtype] * torch.finfo(dtype).eps
        for name, count in product(SETS, (1, 2)):
            native.use(name)
            torch.set_num_threads(count)
            close(results(tensors, backend="native", **options), exact, few)
    native.use(None)


@pytest.mark.parametrize("kind", ["additive", "far from zero", "sparsemax", "entmax15"])
@pytest.mark.parametrize(("queries", "keys"), [(0, 5), (5, 0), (1, 1000), (63, 129), (777, 403)])
def test_other_scores_and_weights(queries: int, keys: int, kind: str, threads: None) -> None:
    """Each set, on one thread and on two."""
    for mask in masks([keys // 2, max(keys - 3, 0)]):
        tensors = inputs(queries, keys)
        options: dict[str, object] = {"mask": mask, "offset": keys - queries, "dropout": 0.2}
        learned: list[Tensor] = []
        if kind in ("sparsemax", "entmax15"):
            options["normalize"] = regard.Sparsemax() if kind == "sparsemax" else regard.Entmax15()
        else:
            options["score"] = score = regard.Additive(13, 19, heads=4, kv_heads=2)
            learned = list(score.parameters())
            if kind == "far from zero":  # e^2a is no float there
                score.query_weight.data *= 100.0
        wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
        doubled = copy.deepcopy(options)
        if learned:
            doubled["score"].double()
        exact = results(wide, list(doubled["score"].parameters()) if learned else [], backend="reference", **doubled)
        for name, count in product(SETS, (1, 2)):
            native.use(name)
            torch.set_num_threads(count)
            close(results(tensors, learned, backend="native", **options), exact, 1e-4)
    native.use(None)


OF_SCORES = {
    "dot": regard.ScaledDot,
    "general": lambda: regard.General(13, heads=4),
    "cosine": lambda: regard.Cosine(heads=4),
    "gaussian": lambda: regard.Gaussian(1.3),  # of which the queries' own part is in the scores, though in no weight
    "kernel": regard.Kernel,
    "additive": lambda: regard.Additive(13, 5, heads=4, kv_heads=2),
}


@pytest.mark.parametrize("name", OF_SCORES)
@pytest.mark.parametrize("sink", [None, 0.7])
@pytest.mark.parametrize("temperature", [1.0, 2.0])  # of the second, the softmax knows another sum
def test_the_log_sum_exp_and_the_sink_are_of_the_scores(name: str, sink: float | None, temperature: float) -> None:
    """With their gradients, where a query sees keys and where it does not."""
    found = []
    score = OF_SCORES[name]()
    for backend in ("native", "reference"):
        torch.manual_seed(5)
        tensors = inputs(37, 53)
        options = {
            "score": score,
            "normalize": regard.Softmax(temperature, sink=sink),
            "mask": regard.Window(5) & regard.Lengths([20, 0]),
        }
        context, seen = regard.observe(*tensors, offset=3, record=[regard.LogSumExp()], backend=backend, **options)
        sums = seen.logsumexp
        filled = sums.masked_fill(sums.isinf(), 0.0)
        gradients = torch.autograd.grad(context.sum() + filled.square().sum(), tensors)
        found.append([context, sums.isinf().double(), filled, *gradients])
        assert regard.plan(*tensors, record=[regard.LogSumExp()], **options).backend == "native"
    close(*found, 1e-4)


@pytest.mark.parametrize("width", [1, 2, 3, 8, 15, 16, 17, 31, 33, 64, 127, 128, 256])
def test_any_width(isa: str, width: int) -> None:
    tensors = inputs(37, 41, width=width, value_width=257 - width)
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    close(results(tensors, backend="native"), results(wide, backend="reference"), 1e-5)


def test_logits_of_ten_thousand(isa: str) -> None:
    query, key, value = (tensor.detach() for tensor in inputs(33, 65, width=16))
    scores = query @ key.repeat_interleave(2, 1).mT
    query = query * 1e4 / scores.abs().max()
    tensors = [tensor.requires_grad_() for tensor in (query, key, value)]
    wide = [tensor.detach().double().requires_grad_() for tensor in tensors]
    dot = {"score": regard.Dot()}
    # A score of 1e4 is known to 1e-3 in float32, and so are its exponential and all that follows.
    close(results(tensors, backend="native", **dot), results(wide, backend="reference", **dot), 1e-2)


@pytest.mark.parametrize("count", [1, 2])
def test_gradients_have_the_same_bits_each_time(isa: str, count: int, threads: None) -> None:
    torch.set_num_threads(count)
    tensors = [tensor[:1, :1].detach().requires_grad_() for tensor in inputs(501, 403)]  # fewer heads than threads
    first, *others = (results(tensors, backend="native", mask=regard.Causal(), dropout=0.1) for _ in range(5))
    assert all(torch.equal(one, two) for other in others for one, two in zip(first, other, strict=True))


def test_nothing_is_copied_and_nothing_beyond_the_bounds_is_read(isa: str) -> None:
    """Keys that no query sees may be anything, also memory that is not the process's."""
    query, key, value = (tensor.detach() for tensor in inputs(17, 300))
    bounds = torch.tensor([[-50, 10], [290, 10**12]]).view(1, 1, 1, 2, 2)  # clamped to 0..10 and 290..300
    key[:, :, 10:290], value[:, :, 10:290] = torch.nan, torch.inf
    found = attention_and_logsumexp(query, key, value, bounds, 1.0, 0.0, 0)[0]
    kept = [torch.cat((tensor[:, :, :10], tensor[:, :, 290:]), 2) for tensor in (key, value)]
    torch.testing.assert_close(found, regard.attend(query, *kept, score=regard.Dot(), backend="reference"))


@pytest.mark.parametrize("lay", ["transposed", "reversed widths", "every third", "expanded"])
def test_tensors_strided_in_any_way(isa: str, lay: str) -> None:
    def laid(tensor: Tensor) -> Tensor:
        if lay == "transposed":
            return tensor.transpose(1, 2).contiguous().transpose(1, 2)
        if lay == "reversed widths":
            return tensor.mT.contiguous().mT
        if lay == "every third":
            wide = torch.full((*tensor.shape[:2], 3 * tensor.shape[2], 3 * tensor.shape[3]), torch.nan)
            wide[:, :, ::3, ::3] = tensor
            return wide[:, :, ::3, ::3]
        return tensor[:1, :1].expand_as(tensor)

    tensors = [laid(tensor.detach()).requires_grad_() for tensor in inputs(35, 100)]
    dense = [tensor.detach().contiguous().requires_grad_() for tensor in tensors]
    for one, other in zip(results(tensors, backend="native"), results(dense, backend="native"), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


def test_the_context_lies_as_a_layer_wants_it() -> None:
    """(batch, queries, heads, width): merging the heads is no copy."""
    context = regard.attend(*(tensor.detach() for tensor in inputs(7, 5)), backend="native")
    assert context.transpose(1, 2).is_contiguous()


@pytest.mark.parametrize("default", [torch.float64, torch.bfloat16], ids=str)
def test_torch_s_default_dtype_changes_nothing(default: torch.dtype) -> None:
    tensors = inputs(37, 41)
    expected = results(tensors, backend="native")
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        context = regard.attend(*tensors, backend="native")
        assert torch.equal(context.double(), expected[0])
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(context.sum(), tensors))
    finally:
        torch.set_default_dtype(before)


def test_several_python_threads(threads: None) -> None:
    torch.set_num_threads(2)
    tensors = inputs(100, 300)
    expected, wrong = results(tensors, backend="native"), []

    def work() -> None:
        for _ in range(20):
            query, key, value = (tensor.detach() for tensor in tensors)
            if not torch.equal(regard.attend(query, key, value, backend="native").double(), expected[0]):
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert not wrong


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_does_not_hang() -> None:
    """OpenMP's threads do not live through a fork; a child of a process that had them runs on one."""
    code = """
import os, torch, regard, warnings
torch.set_num_threads(2)
tensors = torch.randn(3, 2, 4, 200, 16)
expected = regard.attend(*tensors, backend="native")
child = os.fork()
if child == 0:
    ok = torch.equal(regard.attend(*tensors, backend="native"), expected)
    os._exit(0 if ok else 1)
print(os.waitpid(child, 0)[1])
"""
    done = python(code)
    assert (done.returncode, done.stdout.strip()) == (0, "0"), done.stderr


@pytest.mark.skipif("avx512_bf16" not in SETS, reason="this processor has no pairs of bfloat16")
def test_slow_pairs_are_used_where_they_are_named_alone() -> None:
    """Intel's cores multiply them at half the speed of float32."""
    intel = "GenuineIntel" in Path("/proc/cpuinfo").read_text()
    assert native.use(None) == ("avx512" if intel else "avx512_bf16")
    assert native.use("avx512_bf16") == "avx512_bf16"
    native.use(None)


def test_variables_choose_and_refuse() -> None:
    code = "from regard.ops import native; print(repr(native.in_use() if not native.ABSENT else native.ABSENT))"
    assert python(code, REGARD_ISA="plain").stdout.strip() == "'plain'"
    assert python(code, REGARD_NATIVE="off").stdout.strip() == "'switched off by REGARD_NATIVE=off'"
    for name, value, text in (
        ("REGARD_ISA", "sse9", "REGARD_ISA=sse9: this build has "),
        ("REGARD_NATIVE", "yes", "REGARD_NATIVE is one of auto, require, off; got 'yes'"),
    ):
        done = python(code, **{name: value})
        assert done.returncode == 1
        assert f"ValueError: {text}" in done.stderr
    absent = [name for name in native.instruction_sets() if name not in SETS]
    for name in absent[:1]:
        assert f"REGARD_ISA={name}: this processor lacks it. This machine runs " in python(code, REGARD_ISA=name).stderr


def test_without_the_kernels_everything_runs_elsewhere() -> None:
    code = """
import torch, regard
query = torch.randn(1, 2, 5, 4)
print(regard.plan(query, query, query).backend)
regard.attend(query, query, query, backend="native")
"""
    done = python(code, REGARD_NATIVE="off")
    assert done.stdout.strip() == "sdpa"
    text = 'backend "native" lacks what this call needs: the kernels, switched off by REGARD_NATIVE=off'
    assert text in done.stderr


def test_a_call_of_another_size_than_its_mask_is_no_crash() -> None:
    place = Place(batch=2, heads=4, queries=7, keys=5)
    bounds = regard.Causal().intervals(place)
    query, key, value = (tensor.detach() for tensor in inputs(7, 5))
    assert bounds is not None
    torch.testing.assert_close(
        attention_and_logsumexp(query, key, value, bounds, 1.0, 0.0, 0)[0],
        regard.attend(query, key, value, score=regard.Dot(), mask=regard.Causal(), backend="reference"),
    )
