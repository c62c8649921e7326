"""Pairs of features turned by angles, in three passes over them; nothing is kept for going back but the angles."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.ops.following import followed, transformed


def turn(
    inputs: Float[Tensor, "*rows features"], cos: Float[Tensor, "*angles pairs"], sin: Float[Tensor, "*angles pairs"]
) -> Float[Tensor, "*rows features"]:
    """`(a cos - b sin, b cos + a sin)` for the features `(a, b)`, halves of each row.

    Args:
        inputs: rows of an even number of features.
        cos, sin: of every pair's angle, which broadcast to half of a row; constants.
    """
    if followed(inputs) or transformed():
        first, second = inputs.chunk(2, -1)
        return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
    found: Tensor = _Turn.apply(inputs, cos, sin)
    return found


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, inputs: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        ctx.save_for_forward(cos, sin)
        pairs = cos.shape[-1]
        turned = inputs * torch.cat((cos, cos), -1)
        turned[..., :pairs].addcmul_(inputs[..., pairs:], sin, value=-1)
        turned[..., pairs:].addcmul_(inputs[..., :pairs], sin)
        return turned

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        cos, sin = ctx.saved_tensors
        return turn(gradient, cos, -sin), None, None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, *_: Tensor | None) -> Tensor:
        return turn(tangent, *ctx.saved_tensors)  # it is linear
