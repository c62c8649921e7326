import math

import pytest

from regard.training.schedule import LONGEST_WARMUP, learning_rate_factor

SCHEDULES = ("inverse_sqrt", "cosine", "constant")


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_warm_up_is_linear_and_ends_at_the_peak(schedule):
    factor = learning_rate_factor(schedule, warmup_steps=5, total_steps=97)
    assert [factor(step) for step in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert max(map(factor, range(97))) == 1.0


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_without_warm_up_the_first_step_is_near_the_peak(schedule):
    assert learning_rate_factor(schedule, warmup_steps=0, total_steps=97)(0) == pytest.approx(1.0, abs=1e-3)


def test_inverse_sqrt_is_that_of_the_paper():
    """Section 5.3 with d_model 1: min(step^-0.5, step warmup^-1.5), steps from 1, over its peak."""
    factor = learning_rate_factor("inverse_sqrt", warmup_steps=13, total_steps=97)
    for step in range(1, 98):
        paper = min(step**-0.5, step * 13**-1.5) / 13**-0.5
        assert factor(step - 1) == pytest.approx(paper)


def test_cosine_is_a_half_in_the_middle_and_nothing_after_the_end():
    factor = learning_rate_factor("cosine", warmup_steps=3, total_steps=12)
    assert factor(7) == pytest.approx(0.5)  # 5 of the 10 steps from the peak at step 2 to zero at step 12
    assert 0 < factor(11) < 0.03
    assert factor(12) == factor(1000) == pytest.approx(0, abs=1e-12)
    assert [factor(step) for step in range(3, 13)] == sorted((factor(s) for s in range(3, 13)), reverse=True)


def test_constant_stays():
    factor = learning_rate_factor("constant", warmup_steps=2, total_steps=5)
    assert {factor(step) for step in range(1, 100)} == {1.0}
    assert not math.isnan(factor(0))


@pytest.mark.parametrize(("total", "steps"), [(97, 9), (50_000, LONGEST_WARMUP)])
def test_the_warm_up_that_nobody_gave_is_a_tenth_and_not_too_long(total, steps):
    chosen, given = (
        learning_rate_factor("cosine", warmup_steps=warmup_steps, total_steps=total) for warmup_steps in (None, steps)
    )
    assert [chosen(step) for step in range(total)] == [given(step) for step in range(total)]
