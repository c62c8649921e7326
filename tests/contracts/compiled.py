"""`torch.compile`, `torch.export` and ONNX on the mechanism; test_compile.py runs this file in a process of its own.

There no run-time checks of types are in the way: Dynamo cannot trace them.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tests.laws.mechanism import KEYS, MASKS, NORMALIZERS, OFFSET, RECORD, SCORES, inputs, learned, tensors_of
from torch import Tensor, nn

import regard
import regard.nn
from regard.attention.backends import streamed
from regard.attention.masks import Mask
from regard.models.transformer import Embedding, Encoder, Layers, Transformer
from regard.ops.cross_entropy import linear_cross_entropy
from regard.ops.random import draw_seed
from regard.ops.residual import add_dropout, add_dropout_norm, dropout

pytestmark = [  # torch's own, of its tracer and its exporter
    pytest.mark.filterwarnings("ignore::DeprecationWarning:torch"),
    pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning"),
    pytest.mark.filterwarnings("ignore:# The axis name:UserWarning"),
]

# Each kind of normaliser, and each form of score and of mask, once.
ON_STREAMED = [
    ("scaled", "softmax", "causal"),
    ("additive", "sink", "padding"),
    ("network", "top-k", "window and prefix"),
    ("transformer-xl", "sigmoid", "strided"),
    ("cap of a sum", "sparsemax", "documents"),
    ("t5", "entmax15", "heads"),
    ("near", "entmax", "blocks"),
    ("key bias", "gumbel", "layout"),
]
ON_SDPA = [
    ("general", "padding"),
    ("alibi", "window and prefix"),
    ("gaussian", "heads"),
    ("cosine", "documents"),
    ("kernel", "none"),
]


@pytest.fixture(autouse=True)
def nothing_compiled() -> Iterator[None]:
    yield
    torch._dynamo.reset()


def compare(attend: Callable[..., tuple[Tensor, ...]], leaves: list[Tensor], *parameters: Tensor, by: str) -> int:
    """One graph without breaks, and from it the same results, gradients and random numbers as without compiling.

    Compiled by "eager", which runs what was traced, or by "aot_eager", which traces its gradient too. Returns how
    many numbers the compiled call kept for its gradient.
    """
    compiled = torch.compile(attend, fullgraph=True, backend=by)
    results, kept = [], []
    for function in (compiled, attend):
        torch.manual_seed(0)
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(partial(_counted, sizes), lambda tensor: tensor):
            outputs = function(*leaves)
        loss = sum((output.double().cos().sum() for output in outputs if output.requires_grad), torch.zeros(()))
        results.append((*outputs, *torch.autograd.grad(loss, [*leaves, *parameters], allow_unused=True)))
        kept.append(sum(sizes))
    for one, other in zip(*results, strict=True):
        assert (one is None) == (other is None)
        torch.testing.assert_close(one, other)
    return kept[0]


def _counted(sizes: list[int], tensor: Tensor) -> Tensor:
    sizes.append(tensor.numel())
    return tensor


@pytest.mark.parametrize(("score", "normalize", "mask"), ON_STREAMED)
def test_streamed_is_one_graph(score: str, normalize: str, mask: str) -> None:
    call = {"score": SCORES[score](), "normalize": NORMALIZERS[normalize](), "mask": MASKS[mask]()}
    offset = 0 if mask == "documents" else OFFSET

    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return (regard.attend(query, key, value, **call, offset=offset, backend="streamed"),)

    compare(attend, inputs(), *learned(*call.values()), by="eager")


@pytest.mark.parametrize(("score", "mask"), ON_SDPA)
def test_sdpa_is_one_graph(score: str, mask: str) -> None:
    call = {"score": SCORES[score](), "mask": MASKS[mask]()}
    offset = 0 if mask == "documents" else OFFSET

    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return (regard.attend(query, key, value, **call, offset=offset, backend="sdpa"),)

    compare(attend, inputs(), *learned(*call.values()), by="eager")


def single(part: object) -> object:
    """In float32, what has numbers of its own."""
    return part.float() if isinstance(part, nn.Module) else part


@pytest.mark.requires("native")
@pytest.mark.parametrize(
    ("score", "normalize", "mask", "operator"),
    [
        ("scaled", "softmax", "none", "attention"),
        ("scaled", "softmax", "causal", "attention"),
        ("scaled", "softmax", "documents", "attention"),
        ("scaled", "softmax", "window and prefix", "attention"),
        ("additive", "softmax", "padding", "additive_attention"),
        ("t5", "entmax15", "causal", "row_attention"),
        ("key bias", "sigmoid", "heads", "row_attention"),
        ("near", "top-k", "strided", "row_attention"),
    ],
)
def test_native_is_one_operator(score: str, normalize: str, mask: str, operator: str) -> None:
    """Forward and backward, whatever the mask, if it has intervals: how many, a graph cannot ask."""
    call = {
        "score": single(SCORES[score]()),
        "normalize": single(NORMALIZERS[normalize]()),
        "mask": MASKS[mask](),
        "offset": 0 if mask == "documents" else OFFSET,
        "dropout": 0.3,
    }
    seen: list[str] = []

    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return (regard.attend(query, key, value, **call, backend="native"),)

    def backend(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Callable:
        seen.extend(str(node.target) for node in graph.graph.nodes if "regard" in str(node.target))
        return graph.forward

    leaves = [tensor.detach().float().requires_grad_() for tensor in inputs()]
    torch.compile(attend, fullgraph=True, backend=backend)(*leaves)
    assert seen == [f"regard.{operator}.default"]
    compare(attend, leaves, *learned(call["score"], call["normalize"]), by="aot_eager")


@pytest.mark.requires("native")
def test_native_observes_in_the_graph() -> None:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        options = {"mask": regard.Causal(), "offset": OFFSET, "record": RECORD, "backend": "native"}
        context, seen = regard.observe(query, key, value, **options)
        return context, *tensors_of(seen).values()

    compare(attend, [tensor.detach().float().requires_grad_() for tensor in inputs()], by="aot_eager")


def test_masks_are_made_inside() -> None:
    lengths, offset = torch.tensor([KEYS, 3]), torch.tensor([OFFSET, 0])

    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        mask: Mask = regard.Causal() & regard.Lengths(lengths)
        return regard.attend(query, key, value, mask=mask, offset=offset), regard.attend(
            query, key, value, score=regard.ScaledDot(), mask=regard.Documents([[4, 7]], [[6, 11]])
        )

    compare(attend, inputs(), by="eager")


def test_the_drop_in_is_one_graph() -> None:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return (regard.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True),)

    compare(attend, inputs(), by="eager")


def test_every_observation_is_in_the_graph() -> None:
    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        context, seen = regard.observe(query, key, value, mask=regard.Causal(), offset=OFFSET, record=RECORD)
        return context, *tensors_of(seen).values()

    compare(attend, inputs(), by="eager")


def test_blocks_are_computed_anew_going_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled too, a large call keeps no matrix for its gradient; and dropout drops the same weights each time."""
    monkeypatch.setattr(streamed, "BLOCK", {"cpu": 24 * KEYS})  # scores
    monkeypatch.setattr(streamed, "KEPT", 0)
    queries = 2 * 24

    def attend(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        return (regard.attend(query, key, value, dropout=0.4),)

    leaves = [torch.randn(1, 1, length, 2, requires_grad=True) for length in (queries, KEYS, KEYS)]
    assert compare(attend, leaves, by="aot_eager") < queries * KEYS / 2


@pytest.mark.parametrize("backend", ["sdpa", "native"])
def test_one_graph_serves_many_sizes(backend: str) -> None:
    graphs = []

    def compiler(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Callable:
        graphs.append(graph)
        return graph.forward

    def attend(query: Tensor, lengths: Tensor) -> Tensor:
        return regard.attend(query, query, query, mask=regard.Causal() & regard.Lengths(lengths), backend=backend)

    compiled = torch.compile(attend, fullgraph=True, dynamic=True, backend=compiler)
    for batch, length in ((3, 5), (5, 11), (7, 13)):
        arguments = torch.randn(batch, 2, length, 4), torch.arange(batch)
        torch.testing.assert_close(compiled(*arguments), attend(*arguments))
    assert len(graphs) == 1


@pytest.mark.requires("compiler")
def test_inductor() -> None:
    """Torch's own compiler, which writes C++: so slowly that one small call has to do."""

    def attend(inputs: Tensor) -> Tensor:
        return regard.attend(inputs, inputs, inputs, mask=regard.Causal(), dropout=0.4)

    quick = {"cpp.simdlen": 1, "cpp_cache_precompile_headers": False, "compile_threads": 1}
    as_eager = {"fallback_random": True}  # the random numbers
    compiled = torch.compile(attend, fullgraph=True, options={**quick, **as_eager})
    inputs, results = torch.randn(2, 3, 5, 7), []
    for function in (compiled, attend):
        torch.manual_seed(0)
        results.append(function(inputs))
    torch.testing.assert_close(*results)


class Model(nn.Module):
    """An encoder of padded rows, on sdpa, and causal attention turned by positions, with grouped heads, on streamed."""

    def __init__(self) -> None:
        super().__init__()
        shape = Layers(dim=12, heads=3, feed_forward=17, layers=1, backend="sdpa")
        self.encoder = Encoder(Embedding(nn.Embedding(23, 12), shape), shape)
        self.causal, rotary = regard.Causal(), regard.nn.Rotary(4)
        self.attention = regard.nn.MultiHeadAttention(12, 3, kv_heads=1, rotary=rotary, backend="streamed")

    def forward(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        return self.attention(self.encoder(tokens, lengths), mask=self.causal)


def test_a_model_in_training_is_one_graph() -> None:
    shape = Layers(dim=12, heads=3, feed_forward=17, layers=2, dropout=0.4)
    model = Encoder(Embedding(nn.Embedding(23, 12), shape), shape)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    batch = torch.randint(23, (5, 7)), torch.tensor([7, 3, 1, 7, 0])
    for training in (False, True):
        model.train(training)
        results = [compiled(*batch), compiled(*batch), model(*batch)]
        if training:
            assert not torch.equal(*results[:2]), "dropout drew nothing"
            results[0].square().sum().backward()
            assert all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters())
        else:
            torch.testing.assert_close(results[0], results[2])


def test_a_packed_model_is_one_graph() -> None:
    shape = Layers(dim=12, heads=3, feed_forward=17, layers=1, dropout=0.0)
    model = Transformer(23, 23, encoder=shape, decoder=shape)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for sources, targets in (([4, 1, 6], [5, 2, 3]), ([3, 6, 2], [1, 7, 4])):
        batch = [torch.randint(23, (1, sum(sources))), torch.tensor(sources)]
        batch += [torch.randint(23, (1, sum(targets))), torch.tensor(targets)]
        found = [torch.autograd.grad(run(*batch).cos().sum(), list(model.parameters())) for run in (compiled, model)]
        torch.testing.assert_close(*found)


def test_a_model_is_exported(tmp_path: Path) -> None:
    """The program traced at one size gives the same at others, in torch and, as ONNX, in ONNX Runtime."""
    model = Model().eval()
    sizes = [
        (torch.randint(23, (2, 7)), torch.tensor([7, 3])),
        (torch.randint(23, (3, 11)), torch.tensor([11, 0, 5])),  # the second row is nothing but padding
    ]
    batch, length = torch.export.Dim("batch"), torch.export.Dim("length")
    program = torch.export.export(model, sizes[0], dynamic_shapes=({0: batch, 1: length}, {0: batch}))

    path = tmp_path / "model.onnx"
    torch.onnx.export(program, dynamo=True, verbose=False).save(path)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_inputs()]
    for arguments in sizes:
        with torch.no_grad():
            expected = model(*arguments)
            torch.testing.assert_close(program.module()(*arguments), expected)
        (answer,) = session.run(None, dict(zip(names, (tensor.numpy() for tensor in arguments), strict=True)))
        np.testing.assert_allclose(answer, expected.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("by", ["eager", "aot_eager"])
def test_the_loss_is_compiled(by: str) -> None:
    torch.manual_seed(0)
    hidden, weight = (torch.randn(rows, 16).requires_grad_() for rows in (300, 50))
    target = torch.randint(50, (300,))

    def loss(hidden: Tensor, weight: Tensor) -> tuple[Tensor]:
        return (linear_cross_entropy(hidden, weight, target, label_smoothing=0.1),)

    compare(loss, [hidden, weight], by=by)


@pytest.mark.parametrize("by", ["eager", "aot_eager"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_residual_path_is_compiled(by: str, dtype: torch.dtype) -> None:
    """With the seed drawn inside; in float64 without kernels."""
    leaves = [torch.randn(size, dtype=dtype).requires_grad_() for size in ((5, 3, 16), (5, 3, 16), (16,), (16,))]

    def path(inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        total = add_dropout(inputs, dropout(branch, p=0.4, seed=draw_seed()), p=0.4, seed=draw_seed())
        return total, add_dropout_norm(total, branch, weight, bias, p=0.4, seed=draw_seed())

    compare(path, leaves, by=by)
