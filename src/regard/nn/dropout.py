"""Dropout whose random numbers are cheap on a CPU."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.ops.native import runs
from regard.ops.random import draw_seed
from regard.ops.residual import dropout


class Dropout(nn.Module):
    """Zeroes features with probability `p` in training and divides the rest by the probability of staying.

    Torch draws a random number a feature, on one thread, which costs a small model a fifth of its training step.
    Where the kernels run, a call draws one seed, and they hash it with the row and the feature (`regard.ops.residual`).
    Elsewhere that would be slow: one 64-bit draw serves four features, 16 bits each, so that `p` is rounded to a
    multiple of 2^-16. Compiled, it is torch's dropout, which torch's compiler fuses with what stands around it.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0.0 <= p < 1.0 - 2**-17:  # what is nearer to 1 is rounded to it
            raise ValueError(f"dropout is a probability, 0 <= p < 1; got {p}")
        self.p = p

    def extra_repr(self) -> str:
        return f"p={self.p}"

    def forward(self, inputs: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        if not self.training or self.p == 0.0:
            return inputs
        if torch.compiler.is_compiling():
            return nn.functional.dropout(inputs, self.p)
        if runs(inputs):
            return dropout(inputs, p=self.p, seed=draw_seed())
        count = inputs.numel()
        words = torch.empty((count + 3) // 4, dtype=torch.int64, device=inputs.device)
        draws = words.random_(-(2**63), None).view(torch.int16)[:count].view(inputs.shape)
        dropped = round(self.p * 2**16)
        # Made a float once: the backward pass needs it again, and a boolean would be converted in both.
        scale = (draws >= dropped - 2**15).to(inputs.dtype).mul_(2**16 / (2**16 - dropped))
        return inputs * scale
