import dataclasses

import pytest

from regard.decoding import Beam, Greedy, Sampling
from regard.decoding.options import number, whole


@pytest.mark.parametrize("options", [Greedy(), Beam(), Sampling()])
def test_options_are_frozen(options: Greedy | Beam | Sampling) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        options.max_length = 3  # type: ignore[misc]


@pytest.mark.parametrize("method", [Greedy, Beam, Sampling])
@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"max_length": 0}, ValueError, r"max_length=0: expected 1 or more; give for instance max_length=1"),
        ({"max_length": True}, TypeError, r"max_length=True: expected a whole number"),
        ({"min_length": -1}, ValueError, r"min_length=-1: expected 0 or more"),
        (
            {"min_length": 7, "max_length": 7},
            ValueError,
            r"leave no place for END.*give max_length=8 or more",
        ),
        ({"no_repeat_ngram": -2}, ValueError, r"no_repeat_ngram=-2: expected 0 or more"),
        ({"max_ratio": -1.5}, ValueError, r"max_ratio=-1.5: expected tokens of output per token of source"),
        ({"max_ratio": float("nan")}, ValueError, r"max_ratio=nan: expected a finite number"),
        ({"max_extra": -3}, ValueError, r"max_extra=-3: expected 0 or more"),
    ],
)
def test_limits_are_checked(method: type, given: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        method(**given)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"width": 0}, ValueError, r"width=0: expected 1 or more"),
        ({"width": 3, "n_best": 5}, ValueError, r"n_best=5 .* width=3; give width=5 or n_best=3"),
        ({"n_best": 0}, ValueError, r"n_best=0: expected 1 or more"),
        ({"length_penalty": -0.5}, ValueError, r"length_penalty=-0.5: .*give length_penalty=0.0"),
    ],
)
def test_beam_is_checked(given: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Beam(**given)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({"temperature": 0.0}, ValueError, r"temperature=0 .* greedy search; give Greedy\(\) instead"),
        ({"temperature": -1.0}, ValueError, r"temperature=-1.0: expected a number above 0"),
        ({"temperature": float("inf")}, ValueError, r"temperature=inf: expected a finite number"),
        ({"top_p": 0.0}, ValueError, r"top_p=0.0: expected a probability above 0 and at most 1"),
        ({"top_p": 1.5}, ValueError, r"top_p=1.5: .*give for instance top_p=0.9"),
        ({"top_k": -1}, ValueError, r"top_k=-1: expected 0 or more"),
        ({"samples": 0}, ValueError, r"samples=0: expected 1 or more"),
        ({"seed": -1}, ValueError, r"seed=-1: expected 0 or more"),
    ],
)
def test_sampling_is_checked(given: dict, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        Sampling(**given)


def test_the_kind_of_number_is_checked() -> None:
    # By themselves, because in the tests the annotations of the options are checked before.
    whole_number = r"max_length=2.5: expected a whole number; give for instance max_length=1"
    with pytest.raises(TypeError, match=whole_number):
        whole("max_length", 2.5, least=1)
    with pytest.raises(TypeError, match=r"length_penalty='mean': expected a number"):
        number("length_penalty", "mean")
    number("length_penalty", 1)
