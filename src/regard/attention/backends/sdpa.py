"""Torch's own fused call, `scaled_dot_product_attention`: dot scores and softmax, where it is the fastest."""

import torch
from torch import Tensor
from torch.nn import functional

from regard.attention.call import Call
from regard.attention.lowering import DotScores
from regard.attention.masks import Causal
from regard.attention.normalizers import Softmax
from regard.attention.observations import TopKeys
from regard.ops.following import transformed
from regard.ops.once import Once


def run(call: Call) -> tuple[Tensor, dict[str, Tensor | TopKeys]]:
    """The context; nothing can be recorded here."""
    scores = call.lowered
    assert isinstance(scores, DotScores)  # `capabilities` has seen to it
    bias = _bias(scores, call)
    mask, causal = None, bias is None and is_causal(call)
    if not causal and call.lowered_mask is not None and not call.lowered_mask.everything:
        mask = call.lowered_mask.allowed
    temperature = call.normalize.temperature if isinstance(call.normalize, Softmax) else 1.0
    if bias is not None and temperature != 1.0:
        bias = bias / temperature
    added = _added(bias, mask, scores.query.dtype == torch.float64)
    value, scale = call.value.to(scores.query.dtype), scores.scale / temperature
    context = fused(scores.query, scores.key, value, added=added, causal=causal, scale=scale)
    if added is not None and torch.compiler.is_exporting():
        # Torch gives zeros to a query that sees nothing; others that run the graph may not (ONNX Runtime).
        sees = added if added.dtype == torch.bool else added > -torch.inf
        context = context.masked_fill(~sees.any(-1, keepdim=True), 0.0)
    return context.to(call.query.dtype), {}


def is_causal(call: Call) -> bool:
    """Whether the mask is torch's own."""
    place = call.place
    standing = isinstance(place.offset, int) and place.offset == 0
    return isinstance(call.mask, Causal) and place.documents is None and standing


def fused(
    query: Tensor, key: Tensor, value: Tensor, *, added: Tensor | None = None, causal: bool, scale: float
) -> Tensor:
    """Torch's call."""
    context = functional.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=added,
        is_causal=causal,
        scale=scale,
        **({"enable_gqa": True} if query.shape[1] != value.shape[1] else {}),  # torch takes no symbol here
    )
    if not torch.compiler.is_compiling() and not transformed():
        made = context.grad_fn
        if made is not None and "ScaledDotProduct" in made.name():
            made.register_hook(_without_second_derivatives)
    return context


def _without_second_derivatives(gradients: tuple[Tensor | None, ...], _: object) -> tuple[Tensor | None, ...] | None:
    """Torch has no derivative of its fused backward pass; whoever asks for one is told what has."""
    if not torch.is_grad_enabled():  # a backward pass without create_graph
        return None
    return tuple(None if gradient is None else Once.apply("sdpa", gradient, gradient) for gradient in gradients)


def _bias(scores: DotScores, call: Call) -> Tensor | None:
    """The sum of the terms; what a score adds to whole rows (`scores.row`) a softmax does not see."""
    terms = [term.matrix(call.place) for term in scores.terms]
    return sum(terms[1:], terms[0]) if terms else None


def _added(bias: Tensor | None, mask: Tensor | None, wide: bool) -> Tensor | None:
    """The mask, or the bias with the mask in it: float32 beside 16-bit queries too, as terms are."""
    if bias is None:
        return mask
    added = bias if mask is None else bias.masked_fill(~mask, -torch.inf)
    return added.double() if wide else added.float()
