"""Attention written out in float64, and how far from it a computation in another precision may lie.

The tolerance is derived, entry by entry, from the call itself. To first order in the unit roundoff, a score is off
by `e_s = eps * size`, where `size` is the score's formula with absolute values in it; a weight by
`e_p = p (exp(2 max e_s) - 1 + exponential) <= 1`; a context by `e_p |v| + eps p |v|`; and so on through the
gradients, whose errors reach the inputs by the derivative of `size`. `FACTOR` stands for the lengths of the sums,
up to 11 terms here, whose roundings point both ways.
"""

import math
from dataclasses import dataclass

import torch
from tests.parity.cases import CAP, SCALE, Case
from torch import Tensor

FACTOR = 2.0  # over 300 random calls the largest error was 0.4 of the bound


@dataclass(frozen=True, kw_only=True)
class Precision:
    """The unit roundoffs of a computation: of its inner numbers, of its projections, and of what it returns."""

    inner: torch.dtype  # of scores and sums
    stored: torch.dtype  # of projected queries and keys and of weights, where they are stored in between
    returned: torch.dtype
    exponential: float = 2.0  # error of exp, in units in the last place
    underflow: float = 0.0  # weights below this may be zero


@dataclass(frozen=True)
class Answer:
    """A context and the gradients of the inputs by name, each with the tolerance of each entry."""

    values: dict[str, Tensor]
    tolerances: dict[str, Tensor]


def eps(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps


def smallest(dtype: torch.dtype) -> float:
    """The spacing of numbers near zero."""
    return torch.finfo(dtype).tiny * torch.finfo(dtype).eps


def scores_of(case: Case, tensors: dict[str, Tensor], *, size: bool) -> Tensor:
    """The formula of the case's score in loops over heads; with `size`, of its absolute values."""
    query, scene = tensors["query"], case.scene
    group = scene.heads // case.kv_heads
    heads = []
    for head in range(scene.heads):
        q, k = query[:, head], tensors["key"][:, head // group]
        match case.kind:
            case "general":
                scores = torch.einsum("bid,de,bje->bij", q, tensors["weight"][head], k)
            case "additive":
                first = torch.einsum("bid,dn->bin", q, tensors["query_weight"][head])
                second = torch.einsum("bjd,dn->bjn", k, tensors["key_weight"][head // group])
                hidden = first[:, :, None, :] + second[:, None, :, :]
                hidden = 1.0 + hidden if size else torch.tanh(hidden)
                scores = torch.einsum("n,bijn->bij", tensors["weight"][head], hidden)
            case _:
                scale = {"dot": 1.0, "scale": SCALE}.get(case.kind, 1.0 / math.sqrt(case.query_dim))
                scores = scale * torch.einsum("bid,bjd->bij", q, k)
        heads.append(scores)
    scores = torch.stack(heads, 1)
    if case.bias is not None and case.kind == "unfused":
        scores = scores + tensors["bias"]
    if not size and case.kind == "unfused":
        scores = 2 * CAP * torch.tanh(scores / (2 * CAP))
    if not size and case.kind in ("capped", "unfused"):
        scores = CAP * torch.tanh(scores / CAP)
    if case.bias is not None and case.kind != "unfused":
        scores = scores + tensors["bias"]
    return scores / case.temperature


def pairs_of(case: Case) -> Tensor:
    """The allowed pairs, from the meaning of the mask."""
    scene = case.scene
    if case.mask is None:
        return torch.ones(scene.batch, scene.heads, scene.queries, scene.keys, dtype=torch.bool)
    return case.mask.matrix(scene)


def weights_of(scores: Tensor, sees: Tensor) -> Tensor:
    """Softmax over the allowed keys; zeros where there are none."""
    top = scores.detach().masked_fill(~sees, -torch.inf).amax(-1, keepdim=True).clamp(min=-1e300)
    exponentials = torch.where(sees, scores - top, -torch.inf).exp()
    total = exponentials.sum(-1, keepdim=True)
    return exponentials / torch.where(total == 0, 1.0, total)


def answer(case: Case, tensors: dict[str, Tensor], precision: Precision) -> Answer:
    """The context, and the gradients of `(context * probe).sum()`."""
    exact = {name: tensor.detach().double() for name, tensor in tensors.items()}
    leaves = {name: exact[name].requires_grad_() for name, tensor in tensors.items() if tensor.requires_grad}
    group = case.scene.heads // case.kv_heads
    sees = pairs_of(case)
    scores = scores_of(case, exact, size=False)
    weights = weights_of(scores, sees)
    value = exact["value"].repeat_interleave(group, 1)
    context = torch.einsum("bhij,bhjv->bhiv", weights, value)
    gradients = torch.autograd.grad((context * exact["probe"]).sum(), list(leaves.values()), allow_unused=True)
    values = {"context": context.detach()}
    for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
        values[name] = torch.zeros_like(leaf) if gradient is None else gradient
    with torch.no_grad():
        errors = _errors(case, exact, weights.detach(), sees, precision)
    rounding, floor = eps(precision.returned), smallest(precision.returned)
    tolerances = {name: FACTOR * errors[name] + rounding * tensor.abs() + floor for name, tensor in values.items()}
    for name, tensor in tensors.items():  # gradients of what is learned are returned in its own dtype
        if name in tolerances and tensor.dtype != precision.returned:
            floor = smallest(precision.stored)  # a projection in 16 bits has a gradient in 16 bits
            tolerances[name] = FACTOR * errors[name] + eps(tensor.dtype) * values[name].abs() + floor
    return Answer(values, tolerances)


def _errors(case: Case, exact: dict[str, Tensor], p: Tensor, sees: Tensor, precision: Precision) -> dict[str, Tensor]:
    """First-order bounds of the errors of the context and of every gradient (see the module's text)."""
    inner, stored = eps(precision.inner), eps(precision.stored)
    small = max(smallest(precision.stored), precision.underflow)
    sizes = {name: tensor.detach().abs().requires_grad_() for name, tensor in exact.items()}
    with torch.enable_grad():
        size = scores_of(case, sizes, size=True)
    rounded = size.detach() * (stored if case.kind in ("general", "additive") else inner)
    if case.bias is not None:
        rounded = rounded + inner * sizes["bias"].detach() / case.temperature  # terms are never stored in 16 bits
    e_s = (rounded * sees).amax(-1, keepdim=True).clamp(max=300.0)
    relative = torch.expm1(2 * e_s) + precision.exponential * inner + stored
    e_p = (p * relative).clamp(max=1.0) * sees + small * sees

    group = case.scene.heads // case.kv_heads
    value, probe = (sizes[name].detach() for name in ("value", "probe"))
    wide = value.repeat_interleave(group, 1)
    errors = {"context": torch.einsum("bhij,bhjv->bhiv", e_p + inner * p, wide)}
    of_value = torch.einsum("bhij,bhiv->bhjv", e_p + inner * p, probe)
    errors["value"] = of_value.unflatten(1, (case.kv_heads, group)).sum(2)

    # d p = probe . v, and d s = p (d p - sum p d p): what rounds is each of its two parts.
    d_p = torch.einsum("bhiv,bhjv->bhij", probe, wide)
    e_dp = (inner + stored) * d_p
    mean, e_mean = (p * d_p).sum(-1, keepdim=True), (e_p * d_p + p * e_dp).sum(-1, keepdim=True)
    d_s = p * (d_p + mean)
    e_ds = e_p * (d_p + mean) + p * (e_dp + e_mean) + small * sees
    # From d s to the inputs by the derivative of the formula, itself rounded, and known as well as its scores.
    e_x = e_ds + d_s * (inner + stored)
    if case.kind in ("capped", "unfused", "additive"):
        e_x = e_x + d_s * e_s.clamp(max=1.0)  # tanh' moves with the score
    names = [name for name in sizes if name not in ("value", "probe")]
    with torch.enable_grad():
        gradients = torch.autograd.grad(size, [sizes[name] for name in names], e_x, allow_unused=True)
    for name, gradient in zip(names, gradients, strict=True):
        errors[name] = torch.zeros_like(sizes[name]) if gradient is None else gradient
    return errors
