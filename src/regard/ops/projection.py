"""A linear layer of few rows by the native kernels, its weight laid out once for many calls: for decoding alone."""

import torch
from torch import Tensor, nn

from regard.ops.native import module


class Projection:
    """`added + relu(norm(inputs) W' + b)`, of which all but the product may be missing.

    The weight is copied into the order in which it is read; what changes it afterwards is not seen.

    Args:
        weight: `(columns, depth)`, float32 on a CPU, as that of `nn.Linear`.
        bias: `(columns)`.
        norm: of the inputs, before the product.
        relu: whether what is below zero becomes zero, before the sum.
    """

    def __init__(
        self, weight: Tensor, bias: Tensor | None = None, *, norm: nn.LayerNorm | None = None, relu: bool = False
    ) -> None:
        self.columns, self.depth = weight.shape
        weight = weight.detach().contiguous()
        self._packed = torch.empty(module().packed_numbers(self.depth, self.columns))
        module().pack_weight(weight.data_ptr(), self.depth, self.columns, self._packed.data_ptr())
        self._kept = [None if one is None else one.detach().float().contiguous() for one in (bias, *_affine(norm))]
        bias_at, gain, shift = (0 if one is None else one.data_ptr() for one in self._kept)
        self._before = (gain, shift, 0.0 if norm is None else norm.eps, self._packed.data_ptr(), bias_at, relu)

    def __call__(self, inputs: Tensor, added: Tensor | None = None, *, to: Tensor | None = None) -> Tensor:
        """`(rows, columns)`.

        Args:
            inputs: `(rows, depth)`, contiguous.
            added: `(rows, columns)`, contiguous.
            to: where the result is written, contiguous; it may be `added`.
        """
        rows = len(inputs)
        outputs = torch.empty(rows, self.columns) if to is None else to
        module().projection(
            torch.get_num_threads(),
            rows,
            self.depth,
            self.columns,
            inputs.data_ptr(),
            *self._before,
            0 if added is None else added.data_ptr(),
            outputs.data_ptr(),
        )
        return outputs


def _affine(norm: nn.LayerNorm | None) -> tuple[Tensor | None, Tensor | None]:
    return (None, None) if norm is None else (norm.weight, norm.bias)
