"""Edges: memory laid out in any way, sizes of nothing, rows of few keys, 16 bits, NaN; and what does not fit."""

import re
from collections.abc import Callable

import pytest
import torch
from tests.laws.mechanism import (
    BATCH,
    DIM,
    HEADS,
    KEYS,
    KV_HEADS,
    NORMALIZERS,
    OFFSET,
    QUERIES,
    SCORES,
    VALUE_DIM,
    WIDE,
    inputs,
    learned,
)
from torch import Tensor, nn

import regard
from regard.attention.capabilities import TABLE, Feature
from regard.ops import native

EXACT = {"rtol": 1e-12, "atol": 1e-12}
PADDING = regard.Causal() & regard.Lengths([9, 0])  # the second batch row sees nothing

# Every score with softmax, every normaliser with dot products, and linear attention.
CALLS: dict[str, Callable[[], dict[str, object]]] = {
    **{f"score {name}": lambda make=make: {"score": make()} for name, make in SCORES.items()},
    **{f"normalize {name}": lambda make=make: {"normalize": make()} for name, make in NORMALIZERS.items()},
    "linear": lambda: {"score": regard.Kernel(), "normalize": regard.Sum()},
}


def able(tensors: list[Tensor], **options: object) -> list[str]:
    """The backends that can run a call."""
    plan = regard.plan(*tensors, **options)
    return [plan.backend, *(name for name, missing in plan.others.items() if not missing)]


def refuses(error: type[Exception], text: str) -> pytest.RaisesExc:
    return pytest.raises(error, match=re.escape(text))


def parameters(call: dict[str, object]) -> list[Tensor]:
    return learned(*call.values())


# Memory


def transposed(tensor: Tensor) -> Tensor:
    """As the layers of a model leave it: heads beside width."""
    return tensor.transpose(1, 2).contiguous().transpose(1, 2)


def every_other(tensor: Tensor) -> Tensor:
    """Every other number of a tensor twice as wide and twice as long."""
    wide = torch.full((*tensor.shape[:2], 2 * tensor.shape[2], 2 * tensor.shape[3]), torch.nan, dtype=tensor.dtype)
    wide[:, :, ::2, ::2] = tensor
    return wide[:, :, ::2, ::2]


@pytest.mark.parametrize("name", CALLS)
def test_memory_may_be_laid_out_in_any_way(name: str) -> None:
    call, tensors = CALLS[name](), inputs()
    for backend in able(tensors, mask=PADDING, offset=OFFSET, **call):
        found = []
        for lay in (torch.Tensor.contiguous, transposed, every_other):
            laid = [lay(tensor.detach()).requires_grad_() for tensor in tensors]
            torch.manual_seed(1)
            context = regard.attend(*laid, mask=PADDING, offset=OFFSET, backend=backend, **call)
            found.append((context, *torch.autograd.grad(context.square().sum(), laid)))
        for other in found[1:]:
            for one, two in zip(found[0], other, strict=True):
                torch.testing.assert_close(two, one, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", CALLS)
def test_expanded_tensors_are_repeated_ones(name: str) -> None:
    """A key and a value for the whole batch and for all heads, held once; their gradients are summed."""
    call = CALLS[name]()
    small = [torch.randn(1, 1, length, width, **WIDE) for length, width in ((1, DIM), (KEYS, DIM), (KEYS, VALUE_DIM))]
    shapes = ((BATCH, HEADS, QUERIES, DIM), (BATCH, KV_HEADS, KEYS, DIM), (BATCH, KV_HEADS, KEYS, VALUE_DIM))
    for backend in able(
        [tensor.expand(shape) for tensor, shape in zip(small, shapes, strict=True)], offset=OFFSET, **call
    ):
        found = []
        for whole in (False, True):
            leaves = [tensor.detach().requires_grad_() for tensor in small]
            tensors = [leaf.expand(shape) for leaf, shape in zip(leaves, shapes, strict=True)]
            tensors = [tensor.contiguous() if whole else tensor for tensor in tensors]
            torch.manual_seed(1)
            context = regard.attend(*tensors, offset=OFFSET, backend=backend, **call)
            found.append((context, *torch.autograd.grad(context.square().sum(), leaves)))
        for one, two in zip(*found, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-10)


def test_masks_terms_and_offsets_may_be_views() -> None:
    tensors, order = inputs(), torch.arange(2 * KEYS)
    allowed, bias = torch.rand(KEYS, QUERIES) < 0.5, torch.randn(KEYS, QUERIES, **WIDE)
    offset = torch.tensor([2, 9, 5, 9])[::2]
    lengths = torch.tensor([9]).expand(BATCH)
    positions = {"query_positions": (order[: 2 * QUERIES])[::2], "key_positions": order[::2]}
    views = {
        "score": regard.Dot() + regard.Bias(bias.T) + regard.Alibi(HEADS, **positions),
        "mask": regard.Dense(allowed.T) & regard.Lengths(lengths) | regard.Causal(),
        "offset": offset,
        "normalize": regard.Softmax(sink=torch.zeros(1, **WIDE).expand(HEADS)),
    }
    copies = {
        "score": regard.Dot()
        + regard.Bias(bias.T.contiguous())
        + regard.Alibi(HEADS, **{name: tensor.clone() for name, tensor in positions.items()}),
        "mask": regard.Dense(allowed.T.contiguous()) & regard.Lengths([9, 9]) | regard.Causal(),
        "offset": torch.tensor([2, 5]),
        "normalize": regard.Softmax(sink=torch.zeros(HEADS, **WIDE)),
    }
    for backend in able(tensors, **views):
        torch.testing.assert_close(
            regard.attend(*tensors, backend=backend, **views),
            regard.attend(*tensors, backend=backend, **copies),
            **EXACT,
        )


# Sizes of nothing


def sized(name: str, batch: int, queries: int, keys: int) -> dict[str, object]:
    """A call of CALLS, with terms of these sizes."""
    bias = {
        "score bias": (batch, HEADS, queries, keys),
        "score key bias": (HEADS, 1, keys),
        "score cap of a sum": (queries, keys),
    }
    if name in bias:
        return {"score": regard.Dot() + regard.Bias(torch.zeros(bias[name], **WIDE))}
    if name == "score near":
        return {"score": regard.Dot() + regard.Near(torch.zeros(batch, HEADS, queries, **WIDE), 2.0)}
    return CALLS[name]()


@pytest.mark.parametrize("name", CALLS)
def test_sizes_of_nothing(name: str) -> None:
    for batch, queries, keys in ((2, 5, 0), (2, 0, 7), (2, 0, 0), (0, 5, 7), (1, 1, 1)):
        call, offset = sized(name, batch, queries, keys), keys - queries
        tensors = [
            torch.randn(batch, heads, length, width, **WIDE).requires_grad_()
            for heads, length, width in ((HEADS, queries, DIM), (KV_HEADS, keys, DIM), (KV_HEADS, keys, VALUE_DIM))
        ]
        for mask in (None, regard.Causal() & regard.Lengths(torch.full((batch,), keys))):
            for backend in able(tensors, mask=mask, offset=offset, **call):
                context = regard.attend(*tensors, mask=mask, offset=offset, backend=backend, **call)
                assert context.shape == (batch, HEADS, queries, VALUE_DIM)
                assert context.isfinite().all()
                assert keys > 0 or not context.any()
                leaves = [*tensors, *parameters(call)]
                gradients = torch.autograd.grad(context.sum(), leaves, allow_unused=True)
                assert all(bool(gradient.isfinite().all()) for gradient in gradients if gradient is not None)


# Rows of few keys


def test_rows_with_fewer_keys_than_k() -> None:
    """They get all that there are: of the first rows of a causal mask, and of calls of few keys."""
    for keys in (2, KEYS):
        tensors = inputs(keys=keys)
        for backend in ("reference", "streamed"):
            top, soft = (
                regard.observe(
                    *tensors,
                    normalize=normalize,
                    mask=regard.Causal(),
                    record=[regard.Weights(), regard.TopK(5)],
                    backend=backend,
                )[1]
                for normalize in (regard.TopKSoftmax(5), regard.Softmax())
            )
            few = min(keys, 5)
            torch.testing.assert_close(top.weights[:, :, :few], soft.weights[:, :, :few], **EXACT)
            assert bool(((top.weights > 0).sum(-1) == torch.arange(1, QUERIES + 1).clamp_max(few)).all())
            assert torch.equal(top.topk.keys[:, :, :few], soft.topk.keys[:, :, :few])
            assert bool((top.topk.keys[:, :, 1, 2:] == -1).all())
            assert not top.topk.weights[:, :, 1, 2:].any()


# 16 bits


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_16_bits_are_computed_in_32_and_rounded_once(name: str, dtype: torch.dtype) -> None:
    call = {step: part.float() if isinstance(part, nn.Module) else part for step, part in CALLS[name]().items()}
    short = [tensor.detach().to(dtype) for tensor in inputs()]
    long = [tensor.float() for tensor in short]
    others = {"sdpa"}  # torch rounds as it likes
    if dtype == torch.bfloat16 and not native.ABSENT and native.in_use() in ("avx512_bf16", "emulated"):
        others.add("native")  # which multiplies weights as pairs of bfloat16 there
    for backend in set(able(short, mask=PADDING, offset=OFFSET, **call)) - others:
        contexts = []
        for tensors in (short, long):
            torch.manual_seed(1)
            contexts.append(regard.attend(*tensors, mask=PADDING, offset=OFFSET, backend=backend, **call))
        assert contexts[0].dtype == dtype
        assert torch.equal(contexts[0], contexts[1].to(dtype))


# NaN


@pytest.mark.parametrize("name", CALLS)
def test_what_nobody_may_see_reaches_nothing(name: str) -> None:
    """Neither contexts nor gradients, those of what is learned among them."""
    call, clean = CALLS[name](), [tensor.detach() for tensor in inputs()]
    dirty = [tensor.clone() for tensor in clean]
    dirty[0][1] = dirty[1][1] = dirty[2][1] = torch.nan
    dirty[1][0, :, 9:] = dirty[2][0, :, 9:] = torch.inf
    probe = torch.randn(BATCH, HEADS, QUERIES, VALUE_DIM, **WIDE)
    for backend in able(clean, mask=PADDING, offset=OFFSET, **call):
        if Feature.HIDDEN_NAN not in TABLE[backend]:
            continue
        found = []
        for tensors in (clean, dirty):
            leaves = [*(tensor.requires_grad_() for tensor in tensors), *parameters(call)]
            torch.manual_seed(1)
            context = regard.attend(*tensors, mask=PADDING, offset=OFFSET, backend=backend, **call)
            gradients = torch.autograd.grad((context * probe).sum(), leaves, allow_unused=True)
            found.append([context, *(gradient for gradient in gradients if gradient is not None)])
        for one, two in zip(*found, strict=True):
            assert torch.equal(one, two)


@pytest.mark.parametrize("backend", ["reference", "streamed"])
@pytest.mark.parametrize("which", ["query", "key", "value"])
@pytest.mark.parametrize("name", CALLS)
def test_what_may_be_seen_reaches_those_who_see_it(name: str, which: str, backend: str) -> None:
    """Whatever its weight is: a sparse normaliser does not hide a NaN."""
    query, key, value = (tensor.detach() for tensor in inputs())
    expected = torch.zeros(BATCH, HEADS, QUERIES, dtype=torch.bool)
    if which == "query":
        query[0, 1, 3] = torch.nan
        expected[0, 1, 3] = True
    else:
        (key if which == "key" else value)[0, 1, 10] = torch.nan
        expected[0, 2:, 10 - OFFSET :] = True
    context = regard.attend(query, key, value, mask=regard.Causal(), offset=OFFSET, backend=backend, **CALLS[name]())
    assert torch.equal(context.isnan().any(-1), expected)


# Far away


@pytest.mark.parametrize("far", [10**6, -(10**6)])
def test_offsets_beyond_everything(far: int) -> None:
    tensors, layout = inputs(), regard.Blocks(3, torch.ones(4, 6, dtype=torch.bool))
    for offset in (far, torch.tensor([far, far])):
        causal = regard.attend(*tensors, mask=regard.Causal(), offset=offset)
        torch.testing.assert_close(causal, regard.attend(*tensors) if far > 0 else torch.zeros_like(causal), **EXACT)
        for mask in (regard.Window(5), regard.Blocks(3), layout):
            if mask is layout and isinstance(offset, int) and far > 0:
                with refuses(ValueError, "but the call reaches (333337, 6): 11 queries at offset 1000000 and 17 keys"):
                    regard.attend(*tensors, mask=mask, offset=offset)
            else:
                assert not regard.attend(*tensors, mask=mask, offset=offset).any()
        strided = regard.attend(*tensors, mask=regard.Strided(7), offset=offset)
        near = regard.attend(*tensors, mask=regard.Strided(7), offset=far % 7)
        torch.testing.assert_close(strided, near, **EXACT)


# What does not fit


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: regard.Cosine(scale=0.0), "Cosine needs a scale > 0, got 0.0"),
        (lambda: regard.Gaussian(-1.0), "Gaussian needs sigma > 0, got -1.0"),
        (lambda: regard.RandomFeatures(0, 5), "RandomFeatures needs a width and a count >= 1, got 0 and 5"),
        (
            lambda: regard.Softmax(sink=torch.zeros(2, 3)),
            "Softmax takes a sink of shape (heads,), or a number, got (2, 3)",
        ),
        (lambda: regard.Softmax(sink=torch.tensor(0.0)), "Softmax takes a sink of shape (heads,), or a number, got ()"),
        (lambda: regard.Sigmoid(torch.zeros(2, 3)), "Sigmoid takes a bias of shape (heads,), or a number, got (2, 3)"),
        (
            lambda: regard.Entmax(1.0),
            "Entmax needs alpha > 1, a number or one for each head, got 1.0; alpha = 1 is regard.Softmax()",
        ),
        (lambda: regard.Entmax(torch.tensor([1.5, 0.5])), "Entmax needs alpha > 1, a number or one for each head, got"),
        (lambda: regard.Entmax(float("nan")), "Entmax needs alpha > 1, a number or one for each head, got nan"),
        (lambda: regard.TopKSoftmax(0), "TopKSoftmax needs k >= 1 and a temperature > 0, got 0 and 1.0"),
        (lambda: regard.TopKSoftmax(3, 0.0), "TopKSoftmax needs k >= 1 and a temperature > 0, got 3 and 0.0"),
        (lambda: regard.Hard(-2.0), "Hard needs a temperature > 0, got -2.0"),
        (lambda: regard.Strided(0), "Strided needs a stride >= 1, got 0"),
        (lambda: regard.Blocks(-3), "Blocks needs a size >= 1, got -3"),
    ],
)
def test_parts_are_made_of_what_makes_sense(make: Callable[[], object], text: str) -> None:
    with refuses(ValueError, text):
        make()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("layout", [torch.ones(2, 3), torch.ones(3, dtype=torch.bool)], ids=["numbers", "one axis"])
def test_a_layout_is_boolean(layout: Tensor) -> None:
    text = (
        "Blocks takes a boolean layout, (query blocks, key blocks) or (heads, query blocks, key blocks), "
        f"got {layout.dtype} of shape {tuple(layout.shape)}"
    )
    with refuses(TypeError, text):
        regard.Blocks(4, layout)


class Pair(nn.Module):
    """A network that gives two scores a pair."""

    def forward(self, pair: Tensor) -> Tensor:
        return pair[..., :2]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            {"score": regard.Cosine(3)},
            "Cosine was built for 3 heads, but the call has 4: regard.Cosine(heads=4)",
        ),
        (
            {"score": regard.Kernel(regard.RandomFeatures(7, 5))},
            "RandomFeatures was built for width 7, but the call has 6; build it as regard.RandomFeatures(6, 5)",
        ),
        (
            {"score": regard.Network(Pair())},
            "Network(Pair) must give one score a pair: from (2, 4, 11, 17, 12) to (2, 4, 11, 17, 1), but it gave "
            "(2, 4, 11, 17, 2)",
        ),
        (
            {"normalize": regard.Softmax(sink=torch.zeros(3))},
            "Softmax(sink=(3,)) has a sink for 3 heads, but the call has 4",
        ),
        ({"normalize": regard.Sigmoid(torch.zeros(2))}, "Sigmoid((2,)) has a bias for 2 heads, but the call has 4"),
        (
            {"normalize": regard.Entmax(torch.tensor([1.5, 2.0]))},
            "Entmax((2,)) has an alpha for 2 heads, but the call has 4",
        ),
        (
            {"mask": regard.Blocks(4, torch.ones(3, 5, 5, dtype=torch.bool))},
            "Blocks(4, layout=(3, 5, 5)) has 3 heads, but the call has 4",
        ),
        (
            {"mask": regard.Blocks(4, torch.ones(2, 5, dtype=torch.bool))},
            "Blocks(4, layout=(2, 5)) has (2, 5) blocks of 4, but the call reaches (3, 5): 11 queries at offset 0 and",
        ),
        (
            {"mask": regard.Blocks(4, torch.ones(3, 4, dtype=torch.bool))},
            "Blocks(4, layout=(3, 4)) has (3, 4) blocks of 4, but the call reaches (3, 5)",
        ),
    ],
    ids=lambda value: repr(next(iter(value.values()))) if isinstance(value, dict) else "",
)
def test_parts_fit_the_call(call: dict[str, object], text: str) -> None:
    with refuses(ValueError, text):
        regard.attend(*(tensor.float() for tensor in inputs()), backend="reference", **call)


@pytest.mark.parametrize("score", [regard.Cosine(HEADS), regard.Gaussian(), regard.Kernel()], ids=repr)
def test_queries_and_keys_have_one_width(score: regard.Score) -> None:
    query, key, value = inputs()
    with refuses(ValueError, "so queries and keys need one width" if "Gauss" in repr(score) else "they need one width"):
        regard.attend(query, key[..., :5], value, score=score)
    with refuses(ValueError, "query has head_dim 6, key has 5"):
        regard.attend(query, key[..., :5], value, score=score + regard.Alibi(HEADS), offset=OFFSET)


@pytest.mark.parametrize("name", [*NORMALIZERS, "sum"])
def test_every_part_prints_itself(name: str) -> None:
    normalize = {**NORMALIZERS, "sum": regard.Sum}[name]()
    assert repr(normalize).startswith(type(normalize).__name__ + "(")
