"""Attention whose rows of weights are kept, by the native kernels, as torch sees it.

A `Spec` says what is computed: any normaliser, terms and observations; the tensors that it speaks of by number are
`extras`. Eager calls go through `autograd.Function`; the operators of `torch.library` are the same two functions for
graphs, and take a spec as text.
"""

from ast import literal_eval
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from regard.ops.attention import backward_call, constants, contiguous_pairs, floats, where
from regard.ops.following import followed
from regard.ops.native import module
from regard.ops.once import Once

NORMALIZERS = {"softmax": 0, "sigmoid": 1, "sparsemax": 2, "entmax15": 3, "sum": 4}
TERMS = {"bias": 0, "hidden": 1, "alibi": 2, "relative": 3, "near": 4}
OBSERVATIONS = {
    "top_k": 0,
    "entropy": 1,
    "received": 2,
    "log_sum_exp": 3,
    "max_score": 4,
    "mass": 5,
    "distance": 6,
    "pooled": 7,
    "rows": 8,
}
DERIVED = ("entropy", "received", "log_sum_exp", "mass", "rows")  # observations with a gradient
MOST_TERMS, MOST_OBSERVATIONS = 8, 32
NONE = -1  # no tensor
_NOWHERE: tuple[int, ...] = (0, 0, 0, 0, 0)


class Term(NamedTuple):
    """What is added to scores; tensors are numbers of extras.

    bias: `(batch, heads, queries, keys)` in float32, each size 1 or whole. hidden: such booleans, False hides a pair.
    alibi: slopes `(heads,)`. relative: a table `(heads, span)` by displacement, the first of `low`. near: the centers
    `(batch, heads, queries)`, and as `factor` 1 / (2 sigma^2). Positions are int32, `(1 or batch, length)`.
    """

    kind: str
    tensor: int
    query_positions: int = NONE
    key_positions: int = NONE
    low: int = 0
    factor: float = 0.0


class Observation(NamedTuple):
    """What is recorded; tensors are numbers of extras.

    top_k: `first` keys. pooled: `first` rows and `second` columns. mass: `chosen` is float32, `(1 or batch, keys)`; all
    keys without. distance: positions. rows: `indices` are int64, `(first,)`.
    """

    kind: str
    first: int = 0
    second: int = 0
    chosen: int = NONE
    query_positions: int = NONE
    key_positions: int = NONE
    indices: int = NONE


class Spec(NamedTuple):
    """A call: `number` is the extra with the sink of a softmax or the bias of a sigmoid, `(heads,)` or `(1,)`."""

    normalizer: str
    cap: float = 0.0  # of scores, before terms are added; 0: none
    factor: float = 1.0  # of the scores of a softmax
    highest: int = 0  # a softmax of the highest scores alone; 0: of all
    number: int = NONE
    terms: tuple[Term, ...] = ()
    observations: tuple[Observation, ...] = ()


_Call = tuple[Spec, float, float, int]  # with scale, dropout and seed


@lru_cache(maxsize=256)
def _read(text: str) -> Spec:
    spec = Spec(*literal_eval(text))
    terms, observations = (Term(*term) for term in spec.terms), (Observation(*one) for one in spec.observations)
    return spec._replace(terms=tuple(terms), observations=tuple(observations))


def _written(spec: Spec) -> str:
    return repr((*spec[:5], tuple(map(tuple, spec.terms)), tuple(map(tuple, spec.observations))))


def row_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bounds: Tensor | None,
    spec: Spec,
    extras: Sequence[Tensor],
    scale: float,
    dropout: float,
    seed: int | Tensor,
) -> tuple[Tensor, list[Tensor]]:
    """The context in float32, and what `spec.observations` are, in order; of `top_k` keys and weights.

    Gradients are those of query, key, value, weight, biases, tables, centers, and of the number of the normaliser.

    Args:
        query, key, value, bounds, scale, dropout, seed: as for `ops.attention.attention_and_logsumexp`.
        weight: `(heads, width)` of an additive score, whose tensors are float32; None: scores are products.
        spec, extras: see there.
    """
    weight = None if weight is None else weight.contiguous()
    if followed(query, key, value, *extras) or (weight is not None and followed(weight)):
        given = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)
        context, *seen = forward_operator(
            query, key, value, weight, bounds, list(extras), _written(spec), scale, dropout, given
        )
    else:
        assert not isinstance(seed, Tensor)
        call = spec, scale, dropout, seed
        context, *seen = _Rows.apply(call, contiguous_pairs(bounds), query, key, value, weight, *extras)
    return context, seen


class _Rows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        call: _Call,
        bounds: Tensor | None,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        weight: Tensor | None,
        *extras: Tensor,
    ) -> tuple[Tensor, ...]:
        context, seen = _forward(call, bounds, query, key, value, weight, extras)
        ctx.save_for_backward(query, key, value, weight, *extras)
        ctx.call, ctx.bounds = call, bounds
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(
            *(tensor for tensor, derived in zip(seen, _derived(call[0]), strict=True) if not derived)
        )
        return context, *seen

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        query, key, value, weight, *extras = ctx.saved_tensors
        wanted = ctx.needs_input_grad[6:]
        found = _backward(ctx.call, ctx.bounds, query, key, value, weight, extras, gradients, wanted)
        if torch.is_grad_enabled():  # create_graph: whoever derives these again is told what can
            sources = [tensor for tensor in ctx.saved_tensors if tensor is not None]
            found = [None if one is None else Once.apply("native", one, *sources) for one in found]
        return None, None, *found


def _derived(spec: Spec) -> list[bool]:
    """Of each tensor that is recorded, whether it has a gradient."""
    return [one.kind in DERIVED for one in spec.observations for _ in range(2 if one.kind == "top_k" else 1)]


def _positions(tensors: Sequence[Tensor], number: int) -> tuple[int, int]:
    """Where the rows of an extra begin, and how far they are apart."""
    if number == NONE:
        return 0, 0
    tensor = tensors[number]
    return tensor.data_ptr(), tensor.stride(0) if tensor.shape[0] > 1 else 0


def _shared(tensor: Tensor) -> tuple[int, ...]:
    """Where a tensor of four dimensions lies, the same for all where its size is 1."""
    strides = (stride if size > 1 else 0 for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return tensor.data_ptr(), *strides


def _terms(spec: Spec, extras: Sequence[Tensor], gradients: dict[int, Tensor]) -> tuple[Any, ...]:
    """The terms as csrc/bindings/module.cpp reads them; gradients are `(parts, batch, heads, ...)`."""
    made = []
    for term in spec.terms:
        tensor, span = extras[term.tensor], 0
        place: tuple[int, ...]
        if term.kind == "alibi":
            place = (tensor.data_ptr(), 0, tensor.stride(0), 0, 0)
        elif term.kind == "relative":
            span = tensor.shape[1]
            place = (tensor.data_ptr(), 0, tensor.stride(0), 0, tensor.stride(1))
        elif term.kind == "near":
            place = _shared(tensor.unsqueeze(-1))
        else:
            place = _shared(tensor)
        gradient, to, part = gradients.get(term.tensor), _NOWHERE, 0
        if gradient is not None:
            part = gradient.stride(0) if gradient.shape[0] > 1 else 0
            to = _shared(gradient[0])
        made.append(
            (
                TERMS[term.kind],
                place,
                to,
                part,
                *_positions(extras, term.query_positions),
                *_positions(extras, term.key_positions),
                term.low,
                span,
                term.factor,
            )
        )
    return tuple(made)


def _observations(spec: Spec, extras: Sequence[Tensor], places: Sequence[tuple[int, int, int]]) -> tuple[Any, ...]:
    """As above; `places` are the addresses of each one's numbers, its keys, and its gradient."""
    return tuple(
        (
            OBSERVATIONS[one.kind],
            data,
            keys if one.indices == NONE else extras[one.indices].data_ptr(),
            one.first,
            one.second,
            *_positions(extras, one.chosen),
            *_positions(extras, one.query_positions),
            *_positions(extras, one.key_positions),
            gradient,
        )
        for one, (data, keys, gradient) in zip(spec.observations, places, strict=True)
    )


def _rows(
    spec: Spec,
    extras: Sequence[Tensor],
    number_gradient: Tensor | None,
    apart: tuple[bool, bool],
    parts: int,
    terms: tuple[Any, ...],
    observations: tuple[Any, ...],
) -> tuple[Any, ...]:
    number = None if spec.number == NONE else extras[spec.number]
    return (
        NORMALIZERS[spec.normalizer],
        spec.cap,
        spec.factor,
        spec.highest,
        0 if number is None else number.data_ptr(),
        0 if number is None or len(number) == 1 else number.stride(0),
        0 if number_gradient is None else number_gradient.data_ptr(),
        *apart,
        parts,
        terms,
        observations,
    )


def _forward(
    call: _Call,
    bounds: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    extras: Sequence[Tensor],
) -> tuple[Tensor, list[Tensor]]:
    spec, scale, dropout, seed = call
    given = constants(query, key, value, bounds, scale, dropout, seed)
    batch, heads, _, queries, keys, width, value_width = given[5]
    native, threads = module(), torch.get_num_threads()
    parts, _, _ = native.plan(threads, batch, heads, heads, queries, width, value_width)
    context = torch.empty(batch, queries, heads, value_width, **floats()).transpose(1, 2)
    numbers = [_room(one, (batch, heads, queries, keys), parts) for one in spec.observations]
    highest = [
        torch.empty(one.shape if kind.kind == "top_k" else 0, dtype=torch.int64, device="cpu")
        for kind, one in zip(spec.observations, numbers, strict=True)
    ]
    places = [(one.data_ptr(), also.data_ptr(), 0) for one, also in zip(numbers, highest, strict=True)]
    seen = _observations(spec, extras, places)
    native.forward(
        threads,
        given,
        where(query),
        where(key),
        where(value),
        0 if weight is None else weight.data_ptr(),
        _rows(spec, extras, None, (True, True), parts, _terms(spec, extras, {}), seen),
        where(context),
        0,
    )
    found: list[Tensor] = []
    for kind, one, also in zip(spec.observations, numbers, highest, strict=True):
        if kind.kind == "top_k":
            found.append(also)
        if kind.kind in ("received", "pooled"):
            one = one.sum(2)
        if kind.kind == "pooled":  # sums over the queries of each row become means
            count = torch.bincount(torch.arange(queries) * kind.first // max(queries, 1), minlength=kind.first)
            one = one / count.clamp_min(1).unsqueeze(-1)
        found.append(one)
    return context, found


def _shape(one: Observation, sizes: tuple[int, int, int, int]) -> tuple[int, ...]:
    """Of what is recorded, in float32."""
    batch, heads, queries, keys = sizes
    shapes: dict[str, tuple[int, ...]] = {
        "top_k": (queries, one.first),
        "received": (keys,),
        "pooled": (one.first, one.second),
        "rows": (one.first, keys),
    }
    return batch, heads, *shapes.get(one.kind, (queries,))


def _room(one: Observation, sizes: tuple[int, int, int, int], parts: int) -> Tensor:
    """Where the kernel writes; what is added up over queries has a place for each part."""
    batch, heads, *rest = _shape(one, sizes)
    if one.kind in ("received", "pooled"):
        return torch.zeros(batch, heads, parts, *rest, **floats())
    return (torch.zeros if one.kind == "rows" else torch.empty)(batch, heads, *rest, **floats())


def _backward(
    call: _Call,
    bounds: Tensor | None,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    extras: Sequence[Tensor],
    gradients: Sequence[Tensor | None],
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """Gradients of query, key, value, weight and extras, given those of the context and of what was recorded."""
    spec, scale, dropout, seed = call
    given = constants(query, key, value, bounds, scale, dropout, seed)
    batch, heads, kv_heads, queries, _, width, value_width = given[5]
    threads = torch.get_num_threads()
    of_context, *of_seen = gradients
    if of_context is None:
        of_context = query.new_zeros(batch, heads, queries, value_width)
    apart = _apart(spec, extras, wanted, (batch, heads, queries))
    some_heads, some_kv = (heads, kv_heads) if apart[1] else (1, 1)
    plan = module().plan(threads, batch if apart[0] else 1, some_heads, some_kv, queries, width, value_width)
    parts = plan[0]
    slots = parts, batch if apart[0] else 1, heads if apart[1] else 1
    learned = [term for term in spec.terms if term.kind in ("bias", "relative", "near") and wanted[term.tensor]]
    places = {term.tensor: _place(term, extras[term.tensor], slots) for term in learned}
    of_number = None
    if spec.number != NONE and wanted[spec.number]:
        of_number = torch.zeros(batch, heads, parts, **floats())
    kept: list[Tensor | None] = []  # as long as the kernel reads them
    for derived, one in zip(_derived(spec), of_seen, strict=True):
        kept.append(None if one is None or not derived else one.float().contiguous())
    order = iter(kept)
    addresses = []
    for seen in spec.observations:
        one = next(order)
        if seen.kind == "top_k":
            next(order)
        addresses.append((0, 0, 0 if one is None else one.data_ptr()))
    terms, observed = _terms(spec, extras, places), _observations(spec, extras, addresses)
    rows = _rows(spec, extras, of_number, apart, parts, terms, observed)
    of_query, of_key, of_value, of_weight = backward_call(
        plan, threads, given, of_context, query, key, value, weight=weight, rows=rows
    )
    found: list[Tensor | None] = [None] * len(extras)
    for term in learned:
        whole, shape = places[term.tensor].sum(0), extras[term.tensor].shape
        found[term.tensor] = (
            whole.sum(0)
            if term.kind == "relative"
            else whole.sum_to_size(shape if term.kind == "bias" else (*shape, 1))
        ).view(shape)
    if of_number is not None:
        total = of_number.sum((0, 2))
        found[spec.number] = total if len(extras[spec.number]) == heads else total.sum(0, keepdim=True)
    return [of_query, of_key, of_value, of_weight, *found]


def _apart(
    spec: Spec, extras: Sequence[Tensor], wanted: Sequence[bool], sizes: tuple[int, int, int]
) -> tuple[bool, bool]:
    """Whether batch rows and heads have a gradient each of every bias that is as large as rows of weights."""
    batch, heads, queries = sizes
    large = [
        extras[term.tensor].shape
        for term in spec.terms
        if term.kind == "bias" and wanted[term.tensor] and extras[term.tensor].shape[2] == queries > 1
    ]
    return all(shape[0] == batch for shape in large), all(shape[1] == heads for shape in large)


def _place(term: Term, tensor: Tensor, slots: tuple[int, int, int]) -> Tensor:
    """Where the gradient of a term is added up: what several tasks would add to has a place for each."""
    parts, batch, heads = slots
    if term.kind == "relative":
        return torch.zeros(parts, batch, tensor.shape[0], 1, tensor.shape[1], **floats())
    if term.kind == "near":
        return torch.zeros(1, *tensor.shape, 1, **floats())
    shape = tensor.shape
    return torch.zeros(
        parts if shape[2] == 1 else 1, max(shape[0], batch), max(shape[1], heads), *shape[2:], **floats()
    )


@torch.library.custom_op("regard::row_attention", mutates_args=(), device_types="cpu")
def forward_operator(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bounds: Tensor | None,
    extras: Sequence[Tensor],
    spec: str,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> list[Tensor]:
    """Context, and what is recorded."""
    call = _read(spec), scale, dropout, int(seed)
    context, seen = _forward(call, contiguous_pairs(bounds), query, key, value, weight, extras)
    return [context, *seen]


@forward_operator.register_fake
def _(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bounds: Tensor | None,
    extras: Sequence[Tensor],
    spec: str,
    scale: float,
    dropout: float,
    seed: Tensor,
) -> list[Tensor]:
    batch, heads, queries, _ = query.shape
    sizes = batch, heads, queries, key.shape[2]
    made = [query.new_empty(batch, queries, heads, value.shape[3], dtype=torch.float32).transpose(1, 2)]
    for one in _read(spec).observations:
        shape = _shape(one, sizes)
        made += [query.new_empty(shape, dtype=torch.int64)] if one.kind == "top_k" else []
        made.append(query.new_empty(shape, dtype=torch.float32))
    return made


@torch.library.custom_op("regard::row_attention_backward", mutates_args=(), device_types="cpu")
def backward_operator(
    gradients: Sequence[Tensor | None],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bounds: Tensor | None,
    extras: Sequence[Tensor],
    spec: str,
    scale: float,
    dropout: float,
    seed: Tensor,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """Gradients of query, key, value, weight and extras, contiguous; where there is none an empty tensor."""
    call = _read(spec), scale, dropout, int(seed)
    found = _backward(call, contiguous_pairs(bounds), query, key, value, weight, extras, gradients, wanted)
    return [query.new_empty(0) if one is None else one.contiguous() for one in found]


@backward_operator.register_fake
def _(
    gradients: Sequence[Tensor | None],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    weight: Tensor | None,
    bounds: Tensor | None,
    extras: Sequence[Tensor],
    spec: str,
    scale: float,
    dropout: float,
    seed: Tensor,
    wanted: Sequence[bool],
) -> list[Tensor]:
    derived = [one.new_empty(one.shape if want else 0) for one, want in zip(extras, wanted, strict=True)]
    of_weight = query.new_empty(0 if weight is None else weight.shape)
    return [query.new_empty(query.shape), key.new_empty(key.shape), value.new_empty(value.shape), of_weight, *derived]


def _keep(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    query, key, value, weight, bounds, extras, spec, scale, dropout, seed = inputs
    ctx.save_for_backward(query, key, value, weight, bounds, seed, *extras)
    ctx.options = spec, scale, dropout
    ctx.wanted = [tensor.requires_grad for tensor in extras]


def _derive(ctx: Any, gradients: Sequence[Tensor | None]) -> tuple[Any, ...]:
    query, key, value, weight, bounds, seed, *extras = ctx.saved_tensors
    of_query, of_key, of_value, of_weight, *of_extras = backward_operator(
        gradients, query, key, value, weight, bounds, extras, *ctx.options, seed, ctx.wanted
    )
    derived = [one if want else None for one, want in zip(of_extras, ctx.wanted, strict=True)]
    return of_query, of_key, of_value, None if weight is None else of_weight, None, derived, None, None, None, None


forward_operator.register_autograd(_derive, setup_context=_keep)
