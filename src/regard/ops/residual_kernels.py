"""Calls of the kernels for dropout in a residual path: tensors to addresses."""

from typing import Any

import torch
from torch import Tensor

from regard.ops.native import TYPES, module

Found = tuple[Tensor, Tensor, Tensor, Tensor]


def _call(branch: Tensor, dtype: torch.dtype, branch_dtype: torch.dtype, p: float, seed: int) -> tuple[Any, ...]:
    """What every call begins with, as csrc/bindings/module.cpp reads it."""
    width = branch.shape[-1] if branch.ndim else 1
    return (
        torch.get_num_threads(),
        TYPES[dtype],
        TYPES[branch_dtype],
        branch.numel() // max(width, 1),
        width,
        (seed & 0xFFFFFFFFFFFFFFFF, round(p * 2**32), 1.0 / (1.0 - p)),
    )


def add_pass(inputs: Tensor | None, branch: Tensor, dtype: torch.dtype, p: float, seed: int) -> Tensor:
    """`inputs + dropout(branch)` in a dtype, which is that of the inputs."""
    inputs, branch = None if inputs is None else inputs.contiguous(), branch.contiguous()
    total = torch.empty_like(branch, dtype=dtype)
    module().residual(
        *_call(branch, dtype, branch.dtype, p, seed),
        0 if inputs is None else inputs.data_ptr(),
        branch.data_ptr(),
        total.data_ptr(),
        (0, 0, 0.0, 0, 0, 0),
    )
    return total


def norm_pass(inputs: Tensor, branch: Tensor, weight: Tensor, bias: Tensor, p: float, seed: int, eps: float) -> Found:
    """The sum, what is normed, and of each row the mean and the inverse deviation."""
    inputs, branch = inputs.contiguous(), branch.contiguous()
    gain, shift = weight.float().contiguous(), bias.float().contiguous()
    found = total, normed, mean, inverse = places(inputs)
    module().residual(
        *_call(branch, inputs.dtype, branch.dtype, p, seed),
        inputs.data_ptr(),
        branch.data_ptr(),
        total.data_ptr(),
        (gain.data_ptr(), shift.data_ptr(), eps, normed.data_ptr(), mean.data_ptr(), inverse.data_ptr()),
    )
    return found


def places(inputs: Tensor) -> Found:
    """Where results go."""
    total, normed = torch.empty_like(inputs), torch.empty_like(inputs)
    mean, inverse = (inputs.new_empty(inputs.shape[:-1], dtype=torch.float32) for _ in range(2))
    return total, normed, mean, inverse


def derive_pass(
    gradient: Tensor,
    of_sum: Tensor | None,
    total: Tensor,
    mean: Tensor,
    inverse: Tensor,
    weight: Tensor,
    bias: Tensor,
    wanted: tuple[bool, bool],
    branch_dtype: torch.dtype,
    p: float,
    seed: int,
) -> Found:
    """Gradients of inputs, branch, weight and bias; the first two, where they are not `wanted`, hold anything."""
    gradient, gain = gradient.contiguous(), weight.float().contiguous()
    of_sum = None if of_sum is None else of_sum.contiguous()
    of_inputs, of_branch = torch.empty_like(total), torch.empty_like(total, dtype=branch_dtype)
    of_gain, of_shift = torch.empty_like(gain), torch.empty_like(gain)
    module().residual_backward(
        *_call(total, total.dtype, branch_dtype, p, seed),
        total.data_ptr(),
        gradient.data_ptr(),
        0 if of_sum is None else of_sum.data_ptr(),
        mean.data_ptr(),
        inverse.data_ptr(),
        gain.data_ptr(),
        of_inputs.data_ptr() if wanted[0] else 0,
        of_branch.data_ptr() if wanted[1] else 0,
        of_gain.data_ptr(),
        of_shift.data_ptr(),
    )
    return of_inputs, of_branch, of_gain.to(weight.dtype), of_shift.to(bias.dtype)
