import re

import pytest

from regard.training import TrainingOptions


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("epochs", 0, "at least 1, for example: --training.epochs 30"),
        ("learning_rate", 0.0, "greater than 0, for example: --training.learning_rate 0.003"),
        ("clip", -1.0, "0 or more"),
        ("adam_beta2", 1.0, "at least 0 and less than 1"),
        ("max_minutes", 0.0, "greater than 0, or null, for example: --training.max_minutes null"),
        ("threads", 0, "at least 1, or null"),
    ],
)
def test_values_that_mean_nothing_are_refused(name, value, expected):
    with pytest.raises(ValueError, match=re.escape(f"training option {name} is {value}, and has to be {expected}")):
        TrainingOptions(**{name: value})


def test_every_option_is_described():
    described = re.findall(r"^        (\w+): .+$", TrainingOptions.__doc__, flags=re.MULTILINE)
    assert described == list(TrainingOptions.__dataclass_fields__)
