"""Output projection and label-smoothed cross-entropy in one, without ever holding all logits."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.ops.native import TYPES, has_kernel, module

_ROWS = 256  # rows of logits at a time: at a vocabulary of 8,000 they stay in a CPU's third-level cache

Found = tuple[Tensor, Tensor, Tensor]  # the mean loss, and its gradients; empty where none is wanted


def linear_cross_entropy(
    hidden: Float[Tensor, "rows dim"],
    weight: Float[Tensor, "vocabulary dim"],
    target: Int[Tensor, " rows"],
    *,
    label_smoothing: float = 0.0,
    ignore: int = -100,
) -> Float[Tensor, ""]:
    """`mean_i of -sum_v q_i(v) ln softmax(weight hidden_i)(v)`, with `q = (1 - eps) [v = target] + eps / vocabulary`.

    The mean is over the rows whose target is not `ignore`. Logits are computed a block of rows at a time, and the
    gradients with them, so that memory is O(rows dim + vocabulary dim) and each logit is written once. On a CPU, in
    float32 and bfloat16, the native kernels do it, where there are such.

    Args:
        hidden: `(rows, dim)`.
        weight: `(vocabulary, dim)`, the output projection.
        target: `(rows,)`, token ids.
        label_smoothing: eps in [0, 1) (Szegedy et al. 2016).
        ignore: rows with this target do not count.

    Returns:
        A scalar in float32 (float64 for inputs in float64), 0 where no row counts.

    Raises:
        ValueError: shapes that do not fit, a smoothing beyond [0, 1).
        IndexError: a target that is no token.
    """
    if hidden.shape[0] != target.shape[0] or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"expected hidden (rows, dim), weight (vocabulary, dim) and target (rows,), got "
            f"{tuple(hidden.shape)}, {tuple(weight.shape)} and {tuple(target.shape)}"
        )
    if not 0.0 <= label_smoothing < 1.0:
        raise ValueError(f"label_smoothing must be in [0, 1), got {label_smoothing}")
    if torch.is_autocast_enabled(hidden.device.type) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden.device.type)  # as autocast does for a linear layer
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    if not torch.is_grad_enabled():  # then the gradients are not worth computing
        hidden, weight = hidden.detach(), weight.detach()
    counted = target != ignore
    if torch.compiler.is_compiling() or not bool(counted.all()):  # packed batches have no padding to leave out
        hidden, target = hidden[counted], target[counted]
    loss: Tensor = _LinearCrossEntropy.apply(hidden, weight, target, label_smoothing)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the logits (the idea of Liger-Kernel, Hsu et al. 2024)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
        compute = operator if hidden.dtype == weight.dtype and has_kernel(hidden, weight) else plain
        loss, *gradients = compute(hidden, weight, target, smoothing, *ctx.needs_input_grad[:2])
        ctx.save_for_backward(*gradients)
        ctx.dtypes = hidden.dtype, weight.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        found = (
            (gradient * grad).to(dtype) if needed else None
            for gradient, dtype, needed in zip(ctx.saved_tensors, ctx.dtypes, ctx.needs_input_grad, strict=False)
        )
        return (*found, None, None)


@torch.library.custom_op("regard::linear_cross_entropy", mutates_args=(), device_types="cpu")
def operator(
    hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, of_hidden: bool, of_weight: bool
) -> Found:
    """The mean loss, and its gradients in float32, by the native kernels."""
    rows, width = hidden.shape
    vocabulary = weight.shape[0]
    hidden, weight, target = hidden.contiguous(), weight.contiguous(), target.long().contiguous()
    if rows and not 0 <= int(target.min()) <= int(target.max()) < vocabulary:
        raise IndexError(f"targets are from {target.min()} to {target.max()}, and there are {vocabulary} tokens")
    hidden_gradient, weight_gradient = _places(hidden, weight, of_hidden, of_weight)
    loss = module().cross_entropy(
        torch.get_num_threads(),
        TYPES[hidden.dtype],
        rows,
        width,
        vocabulary,
        hidden.data_ptr(),
        weight.data_ptr(),
        target.data_ptr(),
        smoothing,
        hidden_gradient.data_ptr() if of_hidden else 0,
        weight_gradient.data_ptr() if of_weight else 0,
    )
    return hidden.new_tensor(loss / max(rows, 1), dtype=torch.float32), hidden_gradient, weight_gradient


@operator.register_fake
def _(hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, of_hidden: bool, of_weight: bool) -> Found:
    return hidden.new_empty((), dtype=torch.float32), *_places(hidden, weight, of_hidden, of_weight)


def _places(hidden: Tensor, weight: Tensor, of_hidden: bool, of_weight: bool) -> tuple[Tensor, Tensor]:
    """Where gradients go."""
    return (
        hidden.new_empty(hidden.shape if of_hidden else 0, dtype=torch.float32),
        weight.new_empty(weight.shape if of_weight else 0, dtype=torch.float32),
    )


def plain(hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float, of_hidden: bool, of_weight: bool) -> Found:
    """The same in torch's own operators, on any device and in any type."""
    rows, vocabulary = hidden.shape[0], weight.shape[0]
    wide = torch.promote_types(hidden.dtype, torch.float32)  # in which is summed
    share = 1.0 / max(rows, 1)
    grad_hidden = torch.empty_like(hidden) if of_hidden else hidden.new_empty(0)
    grad_weight = torch.zeros_like(weight, dtype=wide) if of_weight else weight.new_empty(0)
    total = hidden.new_zeros((), dtype=wide)
    for start in range(0, rows, _ROWS):
        block = slice(start, min(start + _ROWS, rows))
        logits = (hidden[block] @ weight.T).to(wide)
        index = target[block].unsqueeze(-1)
        chosen, mean = logits.gather(-1, index).squeeze(-1), logits.mean(-1)
        top = logits.amax(-1, keepdim=True)
        logits.sub_(top).exp_()
        normalizer = logits.sum(-1, keepdim=True)
        lse = (normalizer.log() + top).squeeze(-1)
        total += (lse - (1.0 - smoothing) * chosen - smoothing * mean).sum()
        if not (of_hidden or of_weight):
            continue
        # d loss / d logits = softmax - q, in place of the exponentials
        logits.div_(normalizer)
        logits.sub_(smoothing / vocabulary)
        logits.scatter_add_(-1, index, logits.new_full(index.shape, smoothing - 1.0))
        logits = logits.to(hidden.dtype)
        if of_hidden:
            torch.mm(logits, weight, out=grad_hidden[block])
        if of_weight:
            grad_weight.addmm_(logits.T.to(wide), hidden[block].to(wide))
    return total * share, grad_hidden.mul_(share), grad_weight.mul_(share)
