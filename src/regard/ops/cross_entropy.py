"""Output projection and label-smoothed cross-entropy in one, without ever holding all logits."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROWS = 256  # rows of logits at a time: at a vocabulary of 8,000 they stay in a CPU's third-level cache


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
    gradients with them, so that memory is O(rows dim + vocabulary dim) and each logit is written once.

    Args:
        hidden: `(rows, dim)`.
        weight: `(vocabulary, dim)`, the output projection.
        target: `(rows,)`, token ids.
        label_smoothing: eps in [0, 1) (Szegedy et al. 2016).
        ignore: rows with this target do not count.

    Returns:
        A scalar in float32 (float64 for inputs in float64), 0 where no row counts.
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
    loss: Tensor = _LinearCrossEntropy.apply(hidden[counted], weight, target[counted], label_smoothing)
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    """Loss and gradients in one pass over the logits (the idea of Liger-Kernel, Hsu et al. 2024)."""

    @staticmethod
    def forward(ctx, hidden: Tensor, weight: Tensor, target: Tensor, smoothing: float) -> Tensor:
        rows, vocabulary = hidden.shape[0], weight.shape[0]
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        wide = torch.promote_types(hidden.dtype, torch.float32)  # in which is summed
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=wide) if needs_weight else None
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
            if not (needs_hidden or needs_weight):
                continue
            # d loss / d logits = softmax - q, in place of the exponentials
            logits.div_(normalizer)
            logits.sub_(smoothing / vocabulary)
            logits.scatter_add_(-1, index, logits.new_full(index.shape, smoothing - 1.0))
            logits = logits.to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(logits, weight, out=grad_hidden[block])
            if grad_weight is not None:
                grad_weight.addmm_(logits.T.to(wide), hidden[block].to(wide))
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.rows, ctx.dtype = max(rows, 1), weight.dtype
        return total / ctx.rows

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        factor = grad / ctx.rows
        return (
            None if grad_hidden is None else grad_hidden * factor.to(grad_hidden.dtype),
            None if grad_weight is None else (grad_weight * factor).to(ctx.dtype),
            None,
            None,
        )
