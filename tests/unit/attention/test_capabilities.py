"""The table of capabilities: dispatch, its errors, and its page."""

import importlib
import re

import pytest
import torch

import regard
from regard.attention import capabilities
from regard.attention.call import Call, checked_call
from regard.attention.capabilities import PROMISES, TABLE, Feature, choose, lacks, needs


def call_with(length: int = 5, **options: object) -> Call:
    query, key, value = torch.randn(3, 2, 3, length, 7)
    defaults = {"score": None, "normalize": None, "mask": None, "offset": 0, "dropout": 0.0, "record": {}}
    return checked_call(query, key, value, **{**defaults, **options})


def test_a_plain_call_needs_little() -> None:
    assert needs(call_with()) == {Feature.DOT, Feature.SOFTMAX}


def test_no_call_needs_a_promise() -> None:
    assert TABLE["streamed"] | TABLE["linear"] >= PROMISES
    everything = call_with(
        score=regard.SoftCap(regard.Dot(), 2.0) + regard.Bias(torch.nn.Parameter(torch.zeros(()))),
        mask=regard.Causal(),
        dropout=0.1,
        record={"it": regard.Entropy()},
    )
    assert not needs(everything) & PROMISES
    assert len(needs(everything)) == 8


def test_an_unknown_backend_names_the_known() -> None:
    text = 'unknown backend "cuda"; expected one of "auto", "linear", "native", "sdpa", "streamed", "reference"'
    with pytest.raises(ValueError, match=re.escape(text)):
        choose(call_with(), "cuda")


def test_a_named_backend_never_gives_way() -> None:
    text = (
        'backend "sdpa" lacks what this call needs: dropout; entmax of any alpha (Entmax); observations. '
        'It runs on "streamed", "reference": pass backend="streamed", or backend="auto"'
    )
    call = call_with(normalize=regard.Entmax(1.3), dropout=0.1, record={"it": regard.Entropy()}, length=101)
    with pytest.raises(ValueError, match=re.escape(text)):
        choose(call, "sdpa")
    assert choose(call, "auto") == "streamed"


@pytest.mark.requires("native")
def test_auto_takes_the_first_that_can() -> None:
    assert choose(call_with(length=101, score=regard.Kernel("elu+1"), normalize=regard.Sum()), "auto") == "linear"
    assert choose(call_with(length=101, score=regard.Dot() + regard.Bias(torch.zeros(101))), "auto") == "native"
    assert choose(call_with(length=101, score=regard.SoftCap(regard.Dot(), 2.0)), "auto") == "native"
    assert choose(call_with(length=101, normalize=regard.Hard()), "auto") == "streamed"


def test_without_kernels_auto_takes_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.ops.native.ABSENT", "which are not built")
    assert choose(call_with(length=101), "auto") == "sdpa"
    with pytest.raises(ValueError, match="lacks what this call needs: the kernels, which are not built"):
        choose(call_with(length=101), "native")


def test_a_bias_needs_its_gradient_where_there_is_one() -> None:
    trained = call_with(score=regard.Dot() + regard.Bias(torch.nn.Parameter(torch.zeros(5))))
    assert lacks(trained, "sdpa") == [Feature.TERM_GRADIENT.value]
    assert lacks(call_with(score=regard.Dot() + regard.Bias(torch.zeros(5))), "sdpa") == []
    with torch.no_grad():
        frozen = call_with(score=regard.Dot() + regard.Bias(torch.nn.Parameter(torch.zeros(5))))
        assert lacks(frozen, "sdpa") == []


def test_every_backend_is_there() -> None:
    for name in TABLE:
        assert callable(capabilities.runner(name))
        assert importlib.import_module(f"regard.attention.backends.{name}").run is capabilities.runner(name)


def test_the_page_has_a_row_for_each_feature() -> None:
    head, rule, *rows = capabilities.table().split("\n")
    assert head == "| | `linear` | `native` | `sdpa` | `streamed` | `reference` |"
    assert rule == "|---|---|---|---|---|---|"
    assert len(rows) == len(Feature)
    assert "| dropout | - | yes | - | yes | yes |" in rows
    assert "| grouped heads | yes | yes | yes | yes | yes |" in rows
