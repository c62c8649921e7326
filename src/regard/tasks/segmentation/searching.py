"""From a picture to the probability of each class at each pixel: at once, or window by window."""

from collections.abc import Iterator

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from regard.models.device import device_of
from regard.models.segmenter import Segmenter
from regard.tasks.segmentation.recipe import Prediction
from regard.training.programs import Exported

Probabilities = Float[Tensor, "classes height width"]


@torch.no_grad()
def probabilities(
    model: Segmenter | Exported, picture: UInt8[Tensor, "3 height width"], options: Prediction
) -> Probabilities:
    """The probabilities of a picture's pixels, on the CPU; the windows' mean where several saw a pixel."""
    height, width = picture.shape[-2:]
    device, total, seen = device_of(model), None, torch.zeros(height, width)
    for top, left, tall, wide in windows(height, width, options):
        part = picture[None, :, top : top + tall, left : left + wide].to(device)
        found = _of(model, part)
        if options.mirror:
            found = (found + _of(model, part.flip(-1)).flip(-1)) / 2.0
        if total is None:
            total = torch.zeros(len(found), height, width)
        total[:, top : top + tall, left : left + wide] += found.cpu()
        seen[top : top + tall, left : left + wide] += 1.0
    assert total is not None
    return total / seen


def windows(height: int, width: int, options: Prediction) -> Iterator[tuple[int, int, int, int]]:
    """Top, left, height and width of each window; they overlap by at least the share that the options say."""
    if not options.window or max(height, width) <= options.window:
        yield 0, 0, height, width
        return
    tall, wide = min(options.window, height), min(options.window, width)
    for top in _starts(height, tall, options.overlap):
        for left in _starts(width, wide, options.overlap):
            yield top, left, tall, wide


def _starts(length: int, window: int, overlap: float) -> list[int]:
    """Where windows begin, evenly from the first place to the last."""
    steps = -(-(length - window) // max(1, int(window * (1.0 - overlap))))
    return [round(number * (length - window) / max(1, steps)) for number in range(steps + 1)]


def _of(model: Segmenter | Exported, part: Tensor) -> Probabilities:
    logits = functional.interpolate(model(part).float(), part.shape[-2:], mode="bilinear", align_corners=False)
    return logits[0].softmax(0)
