"""Who follows a computation besides autograd: what torch cannot see into must know."""

import torch
from torch import Tensor

_PLAIN = (Tensor, torch.nn.Parameter)


def followed(*tensors: Tensor) -> bool:
    """Whether a graph is traced, a mode listens (`FakeTensorMode`), or a tensor is of a class of its own.

    All of them understand operators of `torch.library`.
    """
    return (
        torch.compiler.is_compiling()
        or torch._C._len_torch_dispatch_stack() > 0
        or not all(type(tensor) in _PLAIN for tensor in tensors)
    )


def transformed() -> bool:
    """Whether `torch.func` transforms the computation, or `torch.jit.trace` records it: they see torch's own alone."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._functorch.peek_interpreter_stack() is not None or torch.jit.is_tracing()
