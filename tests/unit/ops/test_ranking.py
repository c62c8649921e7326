"""The greatest of rows and their log-sum-exp: on the kernels as in torch."""

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from regard.ops import ranking
from regard.ops.ranking import greatest, log_sum_exp

NUMBERS = st.sampled_from([0.0, 1.0, 2.0, -3.5, -torch.inf])


@pytest.fixture(params=[pytest.param(True, marks=pytest.mark.requires("native")), False], ids=["kernels", "torch"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With kernels, and as where there are none."""
    if not request.param:
        monkeypatch.setattr(ranking, "_on_kernels", lambda values: False)


@hypothesis.given(
    rows=st.integers(1, 40).flatmap(
        lambda size: st.lists(st.lists(NUMBERS, min_size=size, max_size=size), min_size=1, max_size=3)
    ),
    data=st.data(),
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_the_lower_of_equals_comes_first(way: None, rows: list[list[float]], data: st.DataObject) -> None:
    count = data.draw(st.integers(1, len(rows[0])))
    values, places = greatest(torch.tensor(rows), count)
    for row, found, at in zip(rows, values.tolist(), places.tolist(), strict=True):
        expected = sorted(range(len(row)), key=lambda place: (-row[place], place))[:count]
        assert found == [row[place] for place in expected]
        possible = [place for place in expected if row[place] > -torch.inf]  # the rest is nobody's choice
        assert at[: len(possible)] == possible


def test_log_sum_exp_is_that_of_torch(way: None) -> None:
    values = 30 * torch.randn(5, 331)
    values[1, ::3] = -torch.inf
    torch.testing.assert_close(log_sum_exp(values), values.double().logsumexp(-1).float(), rtol=2e-6, atol=1e-5)
    odd = torch.tensor([[0.0, torch.nan], [0.0, torch.inf], [-torch.inf, -torch.inf]])
    found = log_sum_exp(odd)
    assert found[:2].isnan().all()
    assert found[2] == -torch.inf


def test_no_number_comes_first(way: None) -> None:
    values = torch.randn(3, 19)
    values[1, 7] = torch.nan
    best, _ = greatest(values, 4)
    assert best[:, 0].isnan().tolist() == [False, True, False]
