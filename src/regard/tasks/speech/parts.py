"""Long recordings in parts: heard in windows that overlap, and cut where nobody speaks."""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Bool, Float
from torch import Tensor

Labels = Float[Tensor, "length vocabulary"]


def heard_in_windows(
    features: Float[Tensor, "frames bands"],
    hear: Callable[[Float[Tensor, "_part bands"]], Labels],
    *,
    window: int,
    overlap: int,
    shrinks: int,
) -> Labels:
    """The labels of all positions, with no more than `window` frames heard at a time.

    Of what two windows share, the earlier one gives the first half and the later one the second, so that every label
    has heard at least half an overlap to either side.

    Args:
        features: of the recording.
        hear: labels of a part of it.
        window, overlap: frames, multiples of `shrinks`; an overlap is less than half a window.
        shrinks: frames of a position.
    """
    found = []
    for start, end in _windows(len(features), window, overlap):
        labels = hear(features[start:end])
        first = overlap // 2 // shrinks if start else 0
        last = len(labels) if end == len(features) else len(labels) - (overlap - overlap // 2) // shrinks
        found.append(labels[first:last])
    return torch.cat(found)


def _windows(frames: int, window: int, overlap: int) -> Iterator[tuple[int, int]]:
    start = 0
    while start + window < frames:
        yield start, start + window
        start += window - overlap
    yield start, frames


def cut_at_pauses(silent: Bool[Tensor, " length"], longest: int) -> list[tuple[int, int]]:
    """Parts of at most `longest` positions, cut in the middle of the longest silence that can be reached.

    Args:
        silent: where nobody speaks.
        longest: positions of a part.
    """
    length, start = len(silent), 0
    parts: list[tuple[int, int]] = []
    while length - start > longest:
        cut = start + _best_cut(silent[start : start + longest])
        parts.append((start, cut))
        start = cut
    return [*parts, (start, length)]


def _best_cut(silent: Bool[Tensor, " length"]) -> int:
    """The middle of the longest silence behind the first quarter; of equal ones the last; the end, if there is none."""
    best, cut, begun = 0, len(silent), None
    for place, quiet in enumerate([*silent.tolist(), False]):
        if quiet and begun is None:
            begun = place
        if not quiet and begun is not None:
            middle = (begun + place + 1) // 2
            if place - begun >= best and middle > len(silent) // 4:
                best, cut = place - begun, middle
            begun = None
    return cut
