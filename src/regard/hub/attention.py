"""Regard's attention as models of `transformers` call it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers.utils import output_capturing

from regard.attention import Bias, Causal, Dense, ScaledDot, SoftCap, Softmax, Weights, attend, observe
from regard.attention.masks import Mask
from regard.hub.masks import MaskTensor

_REFUSED = ("indices", "block_indices", "sinks", "head_mask")  # what some models hand on, and would change the weights


def attention(
    module: nn.Module,
    query: Float[Tensor, "batch heads queries head_dim"],
    key: Float[Tensor, "batch kv_heads keys head_dim"],
    value: Float[Tensor, "batch kv_heads keys value_dim"],
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    softcap: float | None = None,
    s_aux: Float[Tensor, " heads"] | None = None,
    position_bias: Float[Tensor, "rows heads queries keys"] | None = None,
    cache: Any = None,
    **options: Any,
) -> tuple[Float[Tensor, "batch queries heads value_dim"], Tensor | None]:
    """The attention function that `transformers` calls by the name of "regard".

    Args:
        module: the layer that calls.
        attention_mask: what `regard.hub.masks.mask` gave, a boolean tensor (True: may attend) or one that is added to
            the scores.
        scaling: of the scores; `1 / sqrt(head_dim)` when not given.
        is_causal: where there is no mask: whether a query sees no key after it; as the layer says when not given.
        softcap: bounds the scores (Gemma 2).
        s_aux: sinks (gpt-oss).
        position_bias: added to the scores (T5).

    Returns:
        The context, and the weights where the call asks for `output_attentions`.

    Raises:
        NotImplementedError: for what is not honoured here.
    """
    if cache is not None:
        raise NotImplementedError(
            f'attn_implementation="regard" has no paged cache ({type(cache).__name__}): '
            'generate with a dynamic or static one, or with attn_implementation="sdpa"'
        )
    for name in _REFUSED:
        if options.get(name) is not None:
            raise NotImplementedError(
                f'{type(module).__name__} attends with {name}=, which attn_implementation="regard" does not know: '
                'use attn_implementation="eager" for this model'
            )
    score: Any = ScaledDot(scaling)
    if softcap is not None:
        score = SoftCap(score, softcap)
    if position_bias is not None:
        score = score + Bias(position_bias)
    mask: Mask | None = None
    if isinstance(attention_mask, MaskTensor):
        mask = attention_mask.mask
    elif attention_mask is None:
        causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
        mask = Causal() if causal and query.shape[2] > 1 else None
    elif attention_mask.dtype == torch.bool:
        mask = Dense(attention_mask)
    else:
        score = score + Bias(attention_mask)
    given: dict[str, Any] = {"score": score, "mask": mask, "dropout": dropout}
    if s_aux is not None:
        given["normalize"] = Softmax(sink=s_aux)
    weights = None
    if _wants_weights(options):
        context, seen = observe(query, key, value, record=[Weights()], **given)
        weights = seen.weights.to(query.dtype)
    else:
        context = attend(query, key, value, **given)
    return context.transpose(1, 2).contiguous(), weights


def _wants_weights(options: dict[str, Any]) -> bool:
    """Whether `output_attentions=True` was asked of the model that is running."""
    if options.get("output_attentions"):
        return True
    collected = output_capturing._active_collector.get()  # private, and the only place where the call's wish stands
    return collected is not None and any("attentions" in name for name in collected)
