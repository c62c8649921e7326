"""Relevance as the paper defines it, of matrices that are held whole (Chefer et al. 2021, eq. 5 to 10)."""

from collections.abc import Sequence

import torch
from torch import Tensor


def positive(weights: Tensor, gradient: Tensor) -> Tensor:
    """The mean over heads of weights times gradients, where positive."""
    return (weights * gradient).clamp_min(0).mean(1).detach()


def propagated(layers: list[Tensor]) -> Tensor:
    whole = torch.eye(layers[0].shape[-1]).to(layers[0]).expand_as(layers[0])
    for matrix in layers:
        whole = whole + matrix @ whole
    return whole


def normalised(whole: Tensor) -> Tensor:
    identity = torch.eye(whole.shape[-1]).to(whole)
    added = whole - identity
    return (added / added.sum(-1, keepdim=True)).nan_to_num(0.0, posinf=0.0) + identity


def relevance_of_pair(
    encoder: Sequence[Tensor], decoder: Sequence[Tensor], cross: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    """Of an encoder-decoder: of the source, and of the output."""
    source = propagated(list(encoder))
    batch, targets, keys = cross[0].shape
    own, to_source = torch.eye(targets).to(source).expand(batch, -1, -1), source.new_zeros(batch, targets, keys)
    for self_attention, crossing in zip(decoder, cross, strict=True):
        own, to_source = own + self_attention @ own, to_source + self_attention @ to_source
        to_source = to_source + normalised(own).mT @ crossing @ normalised(source)
    return to_source, own
