"""A gradient that cannot be derived again, and says what can."""

from typing import Any

import torch
from torch import Tensor


class Once(torch.autograd.Function):
    """`Once.apply(backend, gradient, *sources)`: `gradient`, as a function of `sources` that cannot be derived."""

    @staticmethod
    def forward(ctx: Any, backend: str, gradient: Tensor, *sources: Tensor) -> Tensor:
        ctx.backend = backend
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        raise RuntimeError(
            f'backend "{ctx.backend}" has no second derivatives; "reference" has them: '
            'regard.attend(..., backend="reference")'
        )
