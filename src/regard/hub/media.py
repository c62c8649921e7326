"""Pictures drawn as models see them."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor


def picture_png(pixels: Float[Tensor, "channels height width"], processor: Any) -> bytes:
    """What the model was given as a PNG: its pixels, with the processor's normalisation undone."""
    from regard.data.pictures import to_png

    mean, spread = (
        torch.tensor(getattr(processor, name, None) or default).view(-1, 1, 1)
        for name, default in (("image_mean", [0.0] * 3), ("image_std", [1.0] * 3))
    )
    return to_png(((pixels * spread + mean).clamp(0, 1) * 255).round().byte())
