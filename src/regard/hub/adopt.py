"""A model that is there already, on Regard's attention."""

from typing import TypeVar

from transformers import PreTrainedModel

NAME = "regard"  # of the attention, as transformers knows it

Model = TypeVar("Model", bound=PreTrainedModel)


def adopt(model: Model) -> Model:
    """Switch a model of `transformers`, with all models inside it, to Regard's attention; returns it.

    Raises:
        TypeError: for what is no model of `transformers`.
        ValueError: for a model whose code calls no attention interface: it names the parts that stay as they are.
    """
    if not isinstance(model, PreTrainedModel):
        raise TypeError(f"adopt takes a model of transformers, got {type(model).__name__}")
    model.set_attn_implementation(NAME)
    left = {
        f"{name or '(the model itself)'}: {type(part).__name__} ({part.config._attn_implementation})"
        for name, part in model.named_modules()
        if isinstance(part, PreTrainedModel) and part.config._attn_implementation != NAME
    }
    if left:
        raise ValueError(
            "these parts compute attention in code of their own, which transformers cannot switch: "
            + "; ".join(sorted(left))
        )
    return model
