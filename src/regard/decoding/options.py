"""How to search: one frozen dataclass a method, each checked when it is made."""

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What every search obeys: how long an output may be, and whether it may repeat itself.

    Arguments:
        max_length: the most tokens that are emitted, END counted. An output that has no END by then is
            unfinished.
        max_ratio: bounds the output by its source too: at most `max_ratio * source length + max_extra`
            tokens. None: no such bound.
        max_extra: the constant of that bound, in tokens.
        min_length: the fewest tokens before END; it wins over `max_ratio` where a source is very short.
        no_repeat_ngram: n: no n tokens in a row appear twice in an output (Paulus et al. 2018). 0: off.

    Raises:
        TypeError, ValueError: at an option out of its range, or two that contradict each other.
    """

    max_length: int = 200
    max_ratio: float | None = None
    max_extra: int = 10
    min_length: int = 0
    no_repeat_ngram: int = 0

    def __post_init__(self) -> None:
        whole("max_length", self.max_length, least=1)
        whole("max_extra", self.max_extra, least=0)
        whole("min_length", self.min_length, least=0)
        whole("no_repeat_ngram", self.no_repeat_ngram, least=0)
        if self.max_ratio is not None:
            number("max_ratio", self.max_ratio)
            if self.max_ratio < 0:
                raise ValueError(
                    f"max_ratio={self.max_ratio}: expected tokens of output per token of source, 0 or more; "
                    "give for instance max_ratio=2.0, or max_ratio=None for no such bound"
                )
        if self.min_length >= self.max_length:
            raise ValueError(
                f"min_length={self.min_length} and max_length={self.max_length} leave no place for END, "
                f"which max_length counts; give max_length={self.min_length + 1} or more"
            )


@dataclass(frozen=True, kw_only=True)
class Greedy(Limits):
    """Take the likeliest token at every step; the fastest search. Ties go to the lower token."""


@dataclass(frozen=True, kw_only=True)
class Beam(Limits):
    """Keep the `width` likeliest unfinished outputs of each sentence at every step.

    Finished hypotheses are ranked by `score = log_probability / length ** length_penalty`, where length
    counts END. This is the plain power; GNMT (Wu et al. 2016) has `((5 + length) / 6) ** alpha` in its
    place.

    Arguments:
        width: unfinished hypotheses a sentence; 1 is greedy search.
        length_penalty: alpha, 0 or more. 0 ranks by log-probability, which favours short outputs; 1 by the
            mean over the tokens; more favours long ones.
        n_best: how many hypotheses a sentence are returned, at most `width`.

    Raises:
        TypeError, ValueError: as `Limits`.
    """

    width: int = 5
    length_penalty: float = 1.0
    n_best: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        whole("width", self.width, least=1)
        whole("n_best", self.n_best, least=1)
        number("length_penalty", self.length_penalty)
        if self.length_penalty < 0:
            raise ValueError(
                f"length_penalty={self.length_penalty}: expected 0 (rank by log-probability) or more; "
                "give length_penalty=0.0 for the shortest outputs"
            )
        if self.n_best > self.width:
            raise ValueError(
                f"n_best={self.n_best} hypotheses cannot come from a beam of width={self.width}; "
                f"give width={self.n_best} or n_best={self.width}"
            )


@dataclass(frozen=True, kw_only=True)
class Sampling(Limits):
    """Draw every token from the model's distribution, sharpened and truncated.

    p = softmax(logits / temperature), of which first the `top_k` likeliest tokens are kept, and then the
    nucleus: the fewest likeliest tokens that together have probability `top_p` or more (Holtzman et al.
    2020).

    Arguments:
        temperature: above 0; less than 1 sharpens, more flattens.
        top_k: 0: off. Ties go to the lower token.
        top_p: above 0, at most 1; 1: off.
        samples: how many outputs are drawn for each sentence.
        seed: of the generator, which is made anew by every search: the same batch and seed give the same
            outputs. Two batches of one text want two seeds.

    Raises:
        TypeError, ValueError: as `Limits`.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    samples: int = 1
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        number("temperature", self.temperature)
        number("top_p", self.top_p)
        whole("top_k", self.top_k, least=0)
        whole("samples", self.samples, least=1)
        whole("seed", self.seed, least=0)
        if self.temperature == 0:
            raise ValueError(
                "temperature=0 would always take the likeliest token, which is greedy search; give Greedy() instead"
            )
        if self.temperature < 0:
            raise ValueError(
                f"temperature={self.temperature}: expected a number above 0; give temperature=1.0 for the "
                "model's own distribution"
            )
        if not 0 < self.top_p <= 1:
            raise ValueError(
                f"top_p={self.top_p}: expected a probability above 0 and at most 1; give for instance "
                "top_p=0.9, or top_p=1.0 to keep every token"
            )


def whole(name: str, value: object, *, least: int) -> None:
    """Raise unless `value` is an integer of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name}={value!r}: expected a whole number; give for instance {name}={max(least, 1)}")
    if value < least:
        raise ValueError(f"{name}={value}: expected {least} or more; give for instance {name}={least}")


def number(name: str, value: object) -> None:
    """Raise unless `value` is a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}={value!r}: expected a number; give for instance {name}=1.0")
    if not math.isfinite(value):
        raise ValueError(f"{name}={value}: expected a finite number; give for instance {name}=1.0")
