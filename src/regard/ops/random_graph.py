"""The random bits of `ops.random` as an operator of `torch.library`: what a graph sees of them."""

import torch
from torch import Tensor

from regard.ops.random import bits


@torch.library.custom_op("regard::bits", mutates_args=())
def bits_operator(seed: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    """`bits` as one operator of a compiled graph, for which torch would write out every word anew at each use."""
    return bits(int(seed), batch, head, query, key)


@bits_operator.register_fake
def _(seed: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
    return key.new_empty(torch.broadcast_shapes(batch.shape, head.shape, query.shape, key.shape))
