"""Dropout of features, alone and in a residual path: what is kept is added to inputs, and the sum is normed.

On a CPU, in float32 and bfloat16, the native kernels do each in one pass over the rows. Which features are dropped is
the contract of `regard.ops.random` everywhere, so that a mask is drawn anew going back and never kept.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from regard.ops.following import followed
from regard.ops.native import has_kernel
from regard.ops.random import keep
from regard.ops.residual_kernels import Found, add_pass, derive_pass, norm_pass, places

Seed = int | Tensor


def dropout(inputs: Float[Tensor, "*shape"], *, p: float, seed: Seed) -> Float[Tensor, "*shape"]:
    """Each feature is zeroed with probability `p`, and the others are divided by `1 - p` (Srivastava et al. 2014).

    Args:
        inputs: features in the last dimension, rows of them in all others.
        p: rounded to a multiple of 2^-32.
        seed: of 64 bits, as `regard.ops.random.draw_seed` gives it; a tensor in a graph. It decides what is dropped,
            with the row and the feature, and nothing else does.

    Returns:
        As `inputs`; with `p` 0 these themselves.

    Raises:
        ValueError: `p` is not in [0, 1), or is rounded to 1.
    """
    _check(p)
    return inputs if p == 0.0 else _add(None, inputs, p, seed)


def add_dropout(
    inputs: Float[Tensor, "*shape"], branch: Float[Tensor, "*shape"], *, p: float, seed: Seed
) -> Float[Tensor, "*shape"]:
    """`inputs + dropout(branch)`: a residual path.

    Args:
        inputs: of any shape.
        branch: of that shape; it may be of another dtype, as under autocast.
        p, seed: as for `dropout`.

    Returns:
        As `inputs`, in the dtype of the plain sum.

    Raises:
        ValueError: shapes that differ, or a `p` that `dropout` does not take.
    """
    _check(p)
    if inputs.shape != branch.shape:
        raise ValueError(f"inputs and branch have one shape, got {tuple(inputs.shape)} and {tuple(branch.shape)}")
    return inputs + branch if p == 0.0 else _add(inputs, branch, p, seed)


def add_dropout_norm(
    inputs: Float[Tensor, "*shape dim"],
    branch: Float[Tensor, "*shape dim"],
    weight: Float[Tensor, " dim"] | None,
    bias: Float[Tensor, " dim"] | None,
    *,
    p: float,
    seed: Seed,
    eps: float = 1e-5,
) -> Float[Tensor, "*shape dim"]:
    """`layer_norm(inputs + dropout(branch))`, `(x - mean) / sqrt(variance + eps) * weight + bias` (Ba et al. 2016).

    Means and variances are in float32 at least, of the sum as `add_dropout` rounds it.

    Args:
        inputs, branch, p, seed: as for `add_dropout`; each row is normed.
        weight: `(dim,)`; None: 1.
        bias: `(dim,)`; None: 0.
        eps: added to the variance.

    Returns:
        As `add_dropout`.

    Raises:
        ValueError: shapes that do not fit, or a `p` that `dropout` does not take.
    """
    shape = inputs.shape[-1:]
    if not all(given is None or given.shape == shape for given in (weight, bias)) or not shape:
        text = " and ".join("None" if given is None else f"{tuple(given.shape)}" for given in (weight, bias))
        raise ValueError(f"weight and bias have the shape {tuple(shape)} of a row of inputs, got {text}")
    affine = [tensor for tensor in (weight, bias) if tensor is not None]
    dtype = torch.promote_types(inputs.dtype, branch.dtype)
    fits = all(tensor.dtype in (dtype, torch.float32) for tensor in affine)
    if p == 0.0 or inputs.shape != branch.shape or not (fits and has_kernel(inputs, branch, *affine)):
        return functional.layer_norm(add_dropout(inputs, branch, p=p, seed=seed), shape, weight, bias, eps)
    _check(p)
    inputs = inputs.to(dtype)
    weight = inputs.new_ones(shape, dtype=torch.float32) if weight is None else weight
    bias = inputs.new_zeros(shape, dtype=torch.float32) if bias is None else bias
    if followed(inputs, branch, weight, bias):
        return norm_operator(inputs, branch, weight, bias, p, _in_graph(seed), eps)[1]
    normed: Tensor = _Normed.apply(inputs, branch, weight, bias, p, int(seed), eps)[1]
    return normed


def _check(p: float) -> None:
    if not (0.0 <= p < 1.0 and round(p * 2**32) < 2**32):
        raise ValueError(f"dropout is a probability, 0 <= p < 1; got {p}")


def _in_graph(seed: Seed) -> Tensor:
    return seed if isinstance(seed, Tensor) else torch.tensor(seed, dtype=torch.int64)


def _add(inputs: Tensor | None, branch: Tensor, p: float, seed: Seed) -> Tensor:
    given = (branch,) if inputs is None else (inputs, branch)
    if not has_kernel(*given):
        return _plain(inputs, branch, p, seed)
    if inputs is not None:
        inputs = inputs.to(torch.promote_types(inputs.dtype, branch.dtype))
    if followed(*given):
        return add_operator(inputs, branch, p, _in_graph(seed))
    return _added(inputs, branch, branch.dtype if inputs is None else inputs.dtype, p, int(seed))


def _plain(inputs: Tensor | None, branch: Tensor, p: float, seed: Seed) -> Tensor:
    """The same in torch's own operators, on any device and in any type."""
    columns = torch.arange(branch.shape[-1] if branch.ndim else 1, device=branch.device)
    rows = torch.arange(branch.numel() // max(len(columns), 1), device=branch.device).unsqueeze(-1)
    nothing = torch.zeros((), dtype=torch.int64, device=branch.device)
    given: Any = _in_graph(seed) if torch.compiler.is_compiling() else int(seed)
    kept = keep(given, p, nothing, nothing, rows, columns).view(branch.shape)
    scaled = branch * kept.to(branch.dtype).mul(1.0 / (1.0 - p))
    return scaled if inputs is None else inputs + scaled


# Eager calls


def _added(inputs: Tensor | None, branch: Tensor, dtype: torch.dtype, p: float, seed: int) -> Tensor:
    if torch.is_grad_enabled() and (branch.requires_grad or (inputs is not None and inputs.requires_grad)):
        found: Tensor = _Added.apply(inputs, branch, dtype, p, seed)
        return found
    return add_pass(inputs, branch, dtype, p, seed)


class _Added(torch.autograd.Function):
    """Its gradient is dropout of what comes back, which has gradients in turn."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor | None, branch: Tensor, dtype: torch.dtype, p: float, seed: int) -> Tensor:
        ctx.options = branch.dtype, p, seed
        return add_pass(inputs, branch, dtype, p, seed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        of_inputs, of_branch = ctx.needs_input_grad[:2]
        dropped = _added(None, gradient, *ctx.options) if of_branch else None
        return gradient if of_inputs else None, dropped, None, None, None


class _Normed(torch.autograd.Function):
    """The sum, and what is normed."""

    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, p: float, seed: int, eps: float
    ) -> tuple[Tensor, Tensor]:
        total, normed, mean, inverse = norm_pass(inputs, branch, weight, bias, p, seed, eps)
        ctx.save_for_backward(total, mean, inverse, weight, bias)
        ctx.options = branch.dtype, p, seed
        ctx.set_materialize_grads(False)
        return total, normed

    @staticmethod
    def backward(ctx: Any, of_sum: Tensor | None, gradient: Tensor | None) -> tuple[Tensor | None, ...]:
        total, mean, inverse, weight, bias = ctx.saved_tensors
        if gradient is None:
            gradient = torch.zeros_like(total)
        if torch.is_grad_enabled():  # create_graph: in operators that have gradients themselves
            found = _derivable(of_sum, gradient, total, mean, inverse, weight, bias, *ctx.options)
        else:
            wanted = ctx.needs_input_grad[:2]
            found = derive_pass(gradient, of_sum, total, mean, inverse, weight, bias, wanted, *ctx.options)
        needed = zip(found, ctx.needs_input_grad, strict=False)
        return *(one if wanted else None for one, wanted in needed), None, None, None


def _derivable(
    of_sum: Tensor | None,
    gradient: Tensor,
    total: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor,
    bias: Tensor,
    branch_dtype: torch.dtype,
    p: float,
    seed: int,
) -> Found:
    """`derive_pass`, of which gradients can be taken."""
    wide = [tensor.float() for tensor in (gradient, total, weight, bias)]
    rows = [tensor.view(*total.shape[:-1], 1) for tensor in (mean, inverse)]
    found, of_weight, of_bias = torch.ops.aten.native_layer_norm_backward(
        *wide[:2], weight.shape, *rows, *wide[2:], [True, True, True]
    )
    found = (found if of_sum is None else found + of_sum).to(total.dtype)
    return found, _added(None, found, branch_dtype, p, seed), of_weight.to(weight.dtype), of_bias.to(bias.dtype)


# Graphs


@torch.library.custom_op("regard::add_dropout", mutates_args=(), device_types="cpu")
def add_operator(inputs: Tensor | None, branch: Tensor, p: float, seed: Tensor) -> Tensor:
    """`inputs + dropout(branch)`; the inputs are in the dtype of the sum."""
    return add_pass(inputs, branch, branch.dtype if inputs is None else inputs.dtype, p, int(seed))


@add_operator.register_fake
def _(inputs: Tensor | None, branch: Tensor, p: float, seed: Tensor) -> Tensor:
    return branch.new_empty(branch.shape, dtype=branch.dtype if inputs is None else inputs.dtype)


def _keep_added(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, branch, p, seed = inputs
    ctx.save_for_backward(seed)
    ctx.options = branch.dtype, p


def _derive_added(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (seed,), (dtype, p) = ctx.saved_tensors, ctx.options
    return gradient if ctx.needs_input_grad[0] else None, add_operator(None, gradient, p, seed).to(dtype), None, None


add_operator.register_autograd(_derive_added, setup_context=_keep_added)


@torch.library.custom_op("regard::add_dropout_norm", mutates_args=(), device_types="cpu")
def norm_operator(
    inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, p: float, seed: Tensor, eps: float
) -> Found:
    """The sum, what is normed, and of each row the mean and the inverse deviation."""
    return norm_pass(inputs, branch, weight, bias, p, int(seed), eps)


@norm_operator.register_fake
def _(inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, p: float, seed: Tensor, eps: float) -> Found:
    return places(inputs.contiguous())


@torch.library.custom_op("regard::add_dropout_norm_backward", mutates_args=(), device_types="cpu")
def derive_operator(
    gradient: Tensor,
    of_sum: Tensor | None,
    total: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor,
    bias: Tensor,
    branch_dtype: torch.dtype,
    p: float,
    seed: Tensor,
) -> Found:
    """Gradients of inputs, branch, weight and bias."""
    both = (True, True)
    return derive_pass(gradient, of_sum, total, mean, inverse, weight, bias, both, branch_dtype, p, int(seed))


@derive_operator.register_fake
def _(
    gradient: Tensor,
    of_sum: Tensor | None,
    total: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor,
    bias: Tensor,
    branch_dtype: torch.dtype,
    p: float,
    seed: Tensor,
) -> Found:
    of_inputs, of_branch = total.new_empty(total.shape), total.new_empty(total.shape, dtype=branch_dtype)
    return of_inputs, of_branch, weight.new_empty(weight.shape), bias.new_empty(bias.shape)


def _keep_normed(ctx: Any, inputs: tuple[Any, ...], output: Found) -> None:
    _, branch, weight, bias, p, seed, _ = inputs
    total, _, mean, inverse = output
    ctx.save_for_backward(total, mean, inverse, weight, bias, seed)
    ctx.options = branch.dtype, p
    ctx.set_materialize_grads(False)


def _derive_normed(
    ctx: Any, of_sum: Tensor | None, gradient: Tensor | None, *_: Tensor | None
) -> tuple[Tensor | None, ...]:
    total, mean, inverse, weight, bias, seed = ctx.saved_tensors
    if gradient is None:
        gradient = torch.zeros_like(total)
    found = derive_operator(gradient, of_sum, total, mean, inverse, weight, bias, *ctx.options, seed)
    return *found, None, None, None


norm_operator.register_autograd(_derive_normed, setup_context=_keep_normed)
