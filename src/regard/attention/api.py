"""The public verbs of the mechanism: `attend`, `observe`, `plan`, and torch's own signature."""

import math
from dataclasses import dataclass
from html import escape

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from regard.attention import capabilities, routes
from regard.attention.call import checked_call
from regard.attention.layouts import Dense
from regard.attention.masks import Causal, Mask
from regard.attention.normalizers import Normalizer
from regard.attention.running import run, seeded
from regard.attention.scores import Prepared, ScaledDot, Score
from regard.attention.seen import Record, Seen, named
from regard.attention.terms import Bias
from regard.attention.watching import current


def attend(
    query: Float[Tensor, "batch heads queries query_dim"],
    key: Float[Tensor, "batch kv_heads keys key_dim"] | Prepared,
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    *,
    score: Score | None = None,
    normalize: Normalizer | None = None,
    mask: Mask | None = None,
    offset: int | Int[Tensor, " batch"] = 0,
    dropout: float = 0.0,
    backend: str = "auto",
) -> Float[Tensor, "batch heads queries value_dim"]:
    """Attention: `context[i] = sum_j normalize(score(query_i, key_j) over the allowed j) * value_j`.

    Args:
        query: `(batch, heads, queries, query_dim)`.
        key: `(batch, kv_heads, keys, key_dim)`, or what `score.prepare(key)` returned. `heads` is a multiple of
            `kv_heads`; query head h reads kv head `h // (heads / kv_heads)`.
        value: `(batch, kv_heads, keys, value_dim)`.
        score: how a key answers a query; `ScaledDot()` when not given. Terms are added with `+`.
        normalize: from scores to weights; `Softmax()` when not given.
        mask: which keys a query may see; all when not given. A query that may see nothing gets a zero context.
        offset: query i stands at key `i + offset`; an int, or one per batch row.
        dropout: probability of dropping a weight; the others are divided by `1 - dropout`.
        backend: "auto", or the name of one ("native", "sdpa", "linear", "streamed", "reference"), which runs or raises.

    Returns:
        The context, `(batch, heads, queries, value_dim)`, in the dtype of the inputs.

    Raises:
        TypeError: for arguments of the wrong kind or dtype.
        ValueError: for shapes that do not fit, or a named backend that lacks what the call needs.

    Source: Bahdanau et al. 2015; Luong et al. 2015; Vaswani et al. 2017.
    """
    like = None
    if normalize is None and dropout == 0.0 and backend in ("auto", "native") and isinstance(key, Tensor):
        like = routes.key_of(query, key, value, score, mask, offset, backend)
        route = routes.find(like)
        if route is not None:
            return route.run(query, key, value)
    watched = current()
    record = {} if watched is None else watched.observations
    call = checked_call(
        query,
        key,
        value,
        score=score,
        normalize=normalize,
        mask=mask,
        offset=offset,
        dropout=dropout,
        record=record,
    )
    chosen = capabilities.choose(call, backend)
    if like is not None:
        routes.remember(like, call, chosen)
    call = seeded(call)
    context, seen = run(call, chosen)
    if watched is not None:
        watched.add(seen, call, context)
    return context


def observe(
    query: Float[Tensor, "batch heads queries query_dim"],
    key: Float[Tensor, "batch kv_heads keys key_dim"] | Prepared,
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    *,
    record: Record,
    score: Score | None = None,
    normalize: Normalizer | None = None,
    mask: Mask | None = None,
    offset: int | Int[Tensor, " batch"] = 0,
    dropout: float = 0.0,
    backend: str = "auto",
) -> tuple[Float[Tensor, "batch heads queries value_dim"], Seen]:
    """`attend`, and what it saw: on one backend the same context, bit for bit, and the same random stream.

    Args:
        record: observations such as `[regard.TopK(8), regard.Entropy()]`, or a mapping from names to them.

    Returns:
        `(context, seen)`, with the results by name: `seen.topk.keys`, `seen.entropy`, or `seen["name"]`.

    The other arguments and errors are those of `attend`.
    """
    wanted = named(record)
    if not wanted:
        raise ValueError("observe needs something to record: record=[regard.TopK(8)]; without, call regard.attend")
    watched = current()  # whoever watches the caller sees this call too, under names of his own
    theirs = {} if watched is None else {name: f"{name} (watched)" for name in watched.observations}
    others = {} if watched is None else {theirs[name]: one for name, one in watched.observations.items()}
    call = checked_call(
        query,
        key,
        value,
        score=score,
        normalize=normalize,
        mask=mask,
        offset=offset,
        dropout=dropout,
        record=wanted | others,
    )
    chosen = capabilities.choose(call, backend)
    call = seeded(call)
    context, seen = run(call, chosen)
    if watched is None:
        return context, seen
    own = {name: result for name, result in seen.items() if name not in others}
    brought = {name: result for name, result in own.items() if name not in wanted}  # such as `total`
    watched.add(Seen({name: seen[key] for name, key in theirs.items()} | brought), call, context)
    return context, Seen(own)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a call would run: see `plan`."""

    backend: str
    others: dict[str, list[str]]  # what each other backend lacks; empty: it could run too
    form: str
    mask: str
    faster: str

    def __str__(self) -> str:
        lines = [f"backend: {self.backend}", f"scores: {self.form}", f"mask: {self.mask}"]
        for name, missing in self.others.items():
            lines.append(f"{name}: {'could run too' if not missing else 'lacks ' + '; '.join(missing)}")
        return "\n".join(lines if not self.faster else [*lines, f"faster: {self.faster}"])

    def _repr_html_(self) -> str:
        pairs = (line.split(": ", 1) for line in str(self).split("\n"))
        rows = (f"<tr><th>{name}</th><td>{escape(text)}</td></tr>" for name, text in pairs)
        return f"<table>{''.join(rows)}</table>"


def plan(
    query: Float[Tensor, "batch heads queries query_dim"],
    key: Float[Tensor, "batch kv_heads keys key_dim"] | Prepared,
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    *,
    score: Score | None = None,
    normalize: Normalizer | None = None,
    mask: Mask | None = None,
    offset: int | Int[Tensor, " batch"] = 0,
    dropout: float = 0.0,
    backend: str = "auto",
    record: Record = (),
) -> Plan:
    """How `attend` or `observe` would run these arguments: which backend, why not the others, what would be faster.

    Nothing is computed but the mask's intervals. Arguments and errors are those of `observe`.
    """
    call = checked_call(
        query,
        key,
        value,
        score=score,
        normalize=normalize,
        mask=mask,
        offset=offset,
        dropout=dropout,
        record=named(record),
    )
    chosen = capabilities.choose(call, backend)
    others = {name: capabilities.lacks(call, name) for name in capabilities.TABLE if name != chosen}
    form = {"dot": "DotScores", "additive": "AdditiveScores"}.get(call.score.form or "", "no fused form: pair by pair")
    text = "none: every pair" if call.lowered_mask is None else f"{call.mask!r}, {call.lowered_mask.describe()}"
    faster = ""
    if chosen in ("streamed", "reference"):
        fused = min(("native", "sdpa"), key=lambda name: len(others[name]))
        if others[fused]:
            faster = f"without {'; '.join(others[fused])} the call would run fused, on {fused}"
    return Plan(backend=chosen, others=others, form=form, mask=text, faster=faster)


def scaled_dot_product_attention(
    query: Float[Tensor, "... queries head_dim"],
    key: Float[Tensor, "... keys head_dim"],
    value: Float[Tensor, "... keys value_dim"],
    attn_mask: Bool[Tensor, "..."] | Float[Tensor, "..."] | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Float[Tensor, "... queries value_dim"]:
    """`torch.nn.functional.scaled_dot_product_attention` with torch's signature and semantics: change one import.

    Args:
        query: `(..., heads, queries, head_dim)`; any number of leading dimensions, also none.
        key: `(..., kv_heads, keys, head_dim)`; the leading dimensions broadcast.
        value: `(..., kv_heads, keys, value_dim)`.
        attn_mask: boolean (True: may attend) or floating-point (added to the scores); broadcasts to
            `(..., heads, queries, keys)`.
        dropout_p: probability of dropping a weight, applied whenever it is above 0, as torch's is.
        is_causal: query i sees the keys up to i; not together with `attn_mask`.
        scale: factor of the scores; `1 / sqrt(head_dim)` when not given.
        enable_gqa: let `heads` be a multiple of `kv_heads`.

    Returns:
        The context, `(..., heads, queries, value_dim)`.

    Raises:
        TypeError: for an `attn_mask` that is neither boolean nor floating-point.
        ValueError: for shapes that do not fit, or `is_causal` together with `attn_mask`.
    """
    if is_causal and attn_mask is not None:
        raise ValueError(
            "is_causal and attn_mask exclude each other; put the causal part into attn_mask, or leave it out"
        )
    if min(query.ndim, key.ndim, value.ndim) < 2:
        raise ValueError(
            f"query, key and value need at least 2 dimensions, got {query.ndim}, {key.ndim} and {value.ndim}"
        )
    shapes = [tuple(tensor.shape[:-2]) for tensor in (query, key, value)]
    if enable_gqa and min(len(shape) for shape in shapes) < 1:
        raise ValueError("enable_gqa needs a dimension of heads: (..., heads, length, width)")
    try:
        if enable_gqa:
            outer = torch.broadcast_shapes(*(shape[:-1] for shape in shapes))
            whole = (*outer, shapes[0][-1])
            kv_whole = (*outer, *torch.broadcast_shapes(shapes[1][-1:], shapes[2][-1:]))
        else:
            whole = kv_whole = tuple(torch.broadcast_shapes(*shapes))
    except RuntimeError:
        raise ValueError(
            f"the leading dimensions of query {tuple(query.shape)}, key {tuple(key.shape)} and value "
            f"{tuple(value.shape)} must broadcast{'' if enable_gqa else '; for grouped heads pass enable_gqa=True'}"
        ) from None

    def four(tensor: Tensor, leading: tuple[int, ...]) -> Tensor:
        tensor = tensor.expand(*leading, *tensor.shape[-2:])
        if len(leading) == 2:
            return tensor
        return tensor.reshape(math.prod(leading[:-1]), leading[-1] if leading else 1, *tensor.shape[-2:])

    score: Score = ScaledDot(scale)
    mask: Mask | None = Causal() if is_causal else None
    if attn_mask is not None:
        full = (*whole, query.shape[-2], key.shape[-2])
        try:
            wide = four(attn_mask.expand(full), whole)
        except RuntimeError:
            raise ValueError(
                f"attn_mask {tuple(attn_mask.shape)} does not broadcast to (..., heads, queries, keys) = {full}"
            ) from None
        if attn_mask.dtype == torch.bool:
            mask = Dense(wide)
        else:
            score = score + Bias(wide)
    context = attend(
        four(query, whole),
        four(key, kv_whole),
        four(value, kv_whole),
        score=score,
        mask=mask,
        dropout=dropout_p,
    )
    return context.reshape(*whole, *context.shape[-2:])
