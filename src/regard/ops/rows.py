"""Attention whose rows of weights are kept, by the native kernels, as torch sees it.

A `Spec` says what is computed: any normaliser, terms and observations; the tensors that it speaks of by number are
`extras`. Eager calls go through `autograd.Function`; the operators of `torch.library` are the same two functions for
graphs, and take a spec as text.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from regard.ops.attention import EVERY_KEY, backward_call, constants, contiguous_pairs, floats, where
from regard.ops.following import followed
from regard.ops.native import module
from regard.ops.once import Once
from regard.ops.spec import (
    NONE,
    Observation,
    Spec,
    Term,
    have_gradients,
    observation_arguments,
    row_arguments,
    shape_of,
    spec_of,
    term_arguments,
    written,
)

_Call = tuple[Spec, float, float, int]  # with scale, dropout and seed


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
        query, key, value, bounds, scale, dropout, seed: as for `ops.attention.attention_and_logsumexp`, in float32.
        weight: `(heads, width)` of an additive score; None: scores are products.
        spec, extras: see there.
    """
    weight = None if weight is None else weight.contiguous()
    if followed(query, key, value, *extras) or (weight is not None and followed(weight)):
        given = seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)
        context, *seen = forward_operator(
            query, key, value, weight, bounds, list(extras), written(spec), scale, dropout, given
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
            *(tensor for tensor, derived in zip(seen, have_gradients(call[0]), strict=True) if not derived)
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
    batch, heads, _, queries, keys, _, value_width = given[5]
    native, threads = module(), torch.get_num_threads()
    parts, _, _ = native.plan(threads, given[0], (batch, heads, heads, *given[5][3:]), EVERY_KEY)
    context = torch.empty(batch, queries, heads, value_width, **floats()).transpose(1, 2)
    numbers = [_room(one, (batch, heads, queries, keys), parts) for one in spec.observations]
    highest = [
        torch.empty(one.shape if kind.kind == "top_k" else 0, dtype=torch.int64, device="cpu")
        for kind, one in zip(spec.observations, numbers, strict=True)
    ]
    places = [(one.data_ptr(), also.data_ptr(), 0) for one, also in zip(numbers, highest, strict=True)]
    seen = observation_arguments(spec, extras, places)
    native.forward(
        threads,
        given,
        where(query),
        where(key),
        where(value),
        0 if weight is None else weight.data_ptr(),
        row_arguments(spec, extras, None, (True, True), parts, term_arguments(spec, extras, {}), seen),
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


def _room(one: Observation, sizes: tuple[int, int, int, int], parts: int) -> Tensor:
    """Where the kernel writes; what is added up over queries has a place for each part."""
    batch, heads, *rest = shape_of(one, sizes)
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
    batch, heads, kv_heads, queries, _, _, value_width = given[5]
    threads = torch.get_num_threads()
    of_context, *of_seen = gradients
    if of_context is None:
        of_context = query.new_zeros(batch, heads, queries, value_width)
    apart = _apart(spec, extras, wanted, (batch, heads, queries))
    some_heads, some_kv = (heads, kv_heads) if apart[1] else (1, 1)
    plan = module().plan(threads, given[0], (batch if apart[0] else 1, some_heads, some_kv, *given[5][3:]), EVERY_KEY)
    parts = plan[0]
    slots = parts, batch if apart[0] else 1, heads if apart[1] else 1
    learned = [term for term in spec.terms if term.kind in ("bias", "relative", "near") and wanted[term.tensor]]
    places = {term.tensor: _place(term, extras[term.tensor], slots) for term in learned}
    of_number = None
    if spec.number != NONE and wanted[spec.number]:
        of_number = torch.zeros(batch, heads, parts, **floats())
    kept: list[Tensor | None] = []  # as long as the kernel reads them
    for derived, one in zip(have_gradients(spec), of_seen, strict=True):
        kept.append(None if one is None or not derived else one.float().contiguous())
    order = iter(kept)
    addresses = []
    for seen in spec.observations:
        one = next(order)
        if seen.kind == "top_k":
            next(order)
        addresses.append((0, 0, 0 if one is None else one.data_ptr()))
    terms, observed = term_arguments(spec, extras, places), observation_arguments(spec, extras, addresses)
    rows = row_arguments(spec, extras, of_number, apart, parts, terms, observed)
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
    call = spec_of(spec), scale, dropout, int(seed)
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
    for one in spec_of(spec).observations:
        shape = shape_of(one, sizes)
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
    call = spec_of(spec), scale, dropout, int(seed)
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
