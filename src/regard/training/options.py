"""How to train: the scalars of the optimiser, its schedule, and when to stop, save and measure."""

from dataclasses import dataclass
from typing import Literal

Schedule = Literal["inverse_sqrt", "cosine", "constant"]
Precision = Literal["auto", "float32", "bfloat16"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How `fit` trains.

    Args:
        epochs: Passes over the training data.
        max_minutes: Stop at the first batch after this many minutes, resumed parts included (null: no limit).
        learning_rate: The peak learning rate.
        warmup_steps: Steps over which the learning rate rises linearly from zero to its peak (null: a tenth of all
            steps, at most 1000).
        schedule: What follows the warm-up: inverse_sqrt, cosine (to zero at the last step) or constant.
        adam_beta1: Decay of AdamW's mean of gradients.
        adam_beta2: Decay of AdamW's mean of squared gradients.
        adam_epsilon: What AdamW adds to the root of the mean of squares.
        weight_decay: Decoupled weight decay of matrices; biases, norms and other vectors have none.
        accumulate: Parts that a batch is computed in, one after the other, where memory does not hold it at once: the
            gradient is the whole batch's (1: at once).
        clip: Greatest norm of the whole gradient; longer ones are shortened to it (0: no clipping).
        ema_decay: Decay of a moving average of the weights, which is then validated and kept in their stead, for
            example 0.999 (0: none).
        average: Last epochs whose weights are averaged at the end; the average is kept if it is better.
        patience: Epochs without a better metric after which training stops (0: never).
        validate_every: Epochs between two validations.
        precision: bfloat16 (mixed), float32, or auto: bfloat16 where the machine computes it fast.
        seed: Seed of every random stream.
        log_every: Steps between two lines of metrics.jsonl.
        checkpoint_minutes: Minutes between two checkpoints within an epoch; each epoch ends with one.
        threads: CPU threads (null: torch's own choice).
        device: cpu, cuda, or auto: cuda where there is one.
    """

    epochs: int = 30
    max_minutes: float | None = None
    learning_rate: float = 3e-3
    warmup_steps: int | None = None
    schedule: Schedule = "cosine"
    adam_beta1: float = 0.9
    adam_beta2: float = 0.98
    adam_epsilon: float = 1e-9
    weight_decay: float = 0.0
    accumulate: int = 1
    clip: float = 1.0
    ema_decay: float = 0.0
    average: int = 5
    patience: int = 0
    validate_every: int = 1
    precision: Precision = "auto"
    seed: int = 1
    log_every: int = 50
    checkpoint_minutes: float = 5.0
    threads: int | None = None
    device: Device = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "validate_every", "log_every", "accumulate"):
            _require(self, name, getattr(self, name) >= 1, "at least 1")
        for name in ("average", "patience", "weight_decay", "clip", "seed"):
            _require(self, name, getattr(self, name) >= 0, "0 or more")
        for name in ("learning_rate", "adam_epsilon", "checkpoint_minutes"):
            _require(self, name, getattr(self, name) > 0, "greater than 0")
        for name in ("adam_beta1", "adam_beta2", "ema_decay"):
            _require(self, name, 0 <= getattr(self, name) < 1, "at least 0 and less than 1")
        _require(self, "warmup_steps", self.warmup_steps is None or self.warmup_steps >= 0, "0 or more, or null")
        _require(self, "max_minutes", self.max_minutes is None or self.max_minutes > 0, "greater than 0, or null")
        _require(self, "threads", self.threads is None or self.threads >= 1, "at least 1, or null")


def _require(options: TrainingOptions, name: str, holds: bool, expected: str) -> None:
    """Raises unless the option holds what it may."""
    if not holds:
        default = getattr(type(options), name)
        shown = "null" if default is None else default
        raise ValueError(
            f"training option {name} is {getattr(options, name)}, and has to be {expected}, for example: "
            f"--training.{name} {shown}"
        )
