"""Colours of classes, as pictures of segmentation and detection have them."""

import torch
from jaxtyping import UInt8
from torch import Tensor

from regard.data.scene import IGNORE


def colours(classes: int) -> UInt8[Tensor, "numbers 3"]:
    """A colour for each number of a mask, that of IGNORE black.

    Neighbouring numbers lie far apart on the circle of hues (a golden section), in three degrees of lightness.
    """
    table = torch.zeros(IGNORE + 1, 3, dtype=torch.uint8)
    for number in range(classes):
        hue, value = (0.58 + number * 0.618034) % 1.0, (1.0, 0.72, 0.86)[number % 3]
        wheel = torch.tensor([hue, hue + 2 / 3, hue + 1 / 3]) % 1.0
        pure = ((wheel * 6.0 - 3.0).abs() - 1.0).clamp(0.0, 1.0)  # red, green, blue of the hue
        table[number] = (255 * value * (1.0 - 0.75 * (1.0 - pure))).round().byte()
    return table
