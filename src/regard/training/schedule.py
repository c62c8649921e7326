"""Learning-rate schedules: pure functions of the step that give a factor of the peak learning rate."""

import math
from collections.abc import Callable

from regard.training.options import Schedule

LONGEST_WARMUP = 1000  # steps of the warm-up that is chosen when none is given


def warmup(step: int, steps: int) -> float:
    """Linear warm-up, `min(1, (step + 1) / steps)`; `step` counts from 0: step `steps - 1` is at the peak."""
    return min(1.0, (step + 1) / steps) if steps else 1.0


def inverse_sqrt(step: int, *, warmup_steps: int) -> float:
    """Warm-up, then `sqrt(warmup_steps / (step + 1))`.

    The schedule of Vaswani et al. 2017 (section 5.3), scaled so that its peak is 1.
    """
    return warmup(step, warmup_steps) * math.sqrt(max(1, warmup_steps) / max(step + 1, warmup_steps, 1))


def cosine(step: int, *, warmup_steps: int, total_steps: int) -> float:
    """Warm-up, then half a cosine from 1 down to 0 after `total_steps` steps (Loshchilov and Hutter 2017)."""
    if step < warmup_steps:
        return warmup(step, warmup_steps)
    passed = (step + 1 - warmup_steps) / max(1, total_steps + 1 - warmup_steps)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, passed)))


def learning_rate_factor(schedule: Schedule, *, warmup_steps: int | None, total_steps: int) -> Callable[[int], float]:
    """The factor of the peak learning rate as a function of the step alone (what `LambdaLR` takes).

    Args:
        schedule: The name of the schedule.
        warmup_steps: Steps of linear warm-up; None: a tenth of all steps, at most `LONGEST_WARMUP`.
        total_steps: Steps of the whole training, as if no time limit stopped it.
    """
    steps = min(total_steps // 10, LONGEST_WARMUP) if warmup_steps is None else warmup_steps
    if schedule == "inverse_sqrt":
        return lambda step: inverse_sqrt(step, warmup_steps=steps)
    if schedule == "cosine":
        return lambda step: cosine(step, warmup_steps=steps, total_steps=total_steps)
    return lambda step: warmup(step, steps)
