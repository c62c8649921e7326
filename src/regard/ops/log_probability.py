"""Log-probabilities of given tokens under an output projection, without ever holding all logits."""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

_ROWS = 256  # rows of logits at a time: at a vocabulary of 8,000 they stay in a CPU's third-level cache


def linear_log_probability(
    hidden: Float[Tensor, "rows dim"], weight: Float[Tensor, "vocabulary dim"], target: Int[Tensor, " rows"]
) -> tuple[Float[Tensor, " rows"], Float[Tensor, " rows"]]:
    """`ln softmax(weight hidden_i)(target_i)`, and the mean of `ln softmax(weight hidden_i)(v)` over all tokens v.

    Where a loss is no plain mean of cross-entropies, such as that of a mixture with a copied word: otherwise
    :func:`regard.ops.cross_entropy.linear_cross_entropy`, which reads the logits once less. Logits are computed a block
    of rows at a time, and again for the gradients.

    Args:
        hidden: `(rows, dim)`.
        weight: `(vocabulary, dim)`, the output projection.
        target: `(rows,)`, token ids.

    Returns:
        Two numbers a row, in float32 (float64 for inputs in float64). The second is what label smoothing adds.

    Raises:
        ValueError: shapes that do not fit.
    """
    if hidden.shape[0] != target.shape[0] or hidden.shape[1] != weight.shape[1]:
        raise ValueError(
            f"expected hidden (rows, dim), weight (vocabulary, dim) and target (rows,), got "
            f"{tuple(hidden.shape)}, {tuple(weight.shape)} and {tuple(target.shape)}"
        )
    if torch.is_autocast_enabled(hidden.device.type) and hidden.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(hidden.device.type)  # as autocast does for a linear layer
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    found: tuple[Tensor, Tensor] = _LinearLogProbability.apply(hidden, weight, target)
    return found


class _LinearLogProbability(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(hidden.dtype, torch.float32)
        chosen, mean, normalizer = (hidden.new_empty(len(target), dtype=wide) for _ in range(3))
        for block in _blocks(len(target)):
            logits = (hidden[block] @ weight.T).to(wide)
            normalizer[block] = logits.logsumexp(-1)
            chosen[block] = logits.gather(-1, target[block].unsqueeze(-1)).squeeze(-1)
            mean[block] = logits.mean(-1)
        ctx.save_for_backward(hidden, weight, target, normalizer)
        return chosen - normalizer, mean - normalizer

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, of_chosen: Tensor, of_mean: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, target, normalizer = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight, dtype=normalizer.dtype) if ctx.needs_input_grad[1] else None
        share = of_mean / len(weight)
        for block in _blocks(len(target)):
            # d / d logits: what is asked for is raised, and every token lowered by its probability.
            logits = (hidden[block] @ weight.T).to(normalizer.dtype)
            logits.sub_(normalizer[block].unsqueeze(-1)).exp_()
            logits.mul_(-(of_chosen[block] + of_mean[block]).unsqueeze(-1)).add_(share[block].unsqueeze(-1))
            logits.scatter_add_(-1, target[block].unsqueeze(-1), of_chosen[block].unsqueeze(-1))
            if grad_hidden is not None:
                torch.mm(logits.to(hidden.dtype), weight, out=grad_hidden[block])
            if grad_weight is not None:
                grad_weight.addmm_(logits.T, hidden[block].to(logits.dtype))
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), None


def _blocks(rows: int) -> list[slice]:
    return [slice(start, min(start + _ROWS, rows)) for start in range(0, rows, _ROWS)]
