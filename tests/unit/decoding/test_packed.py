"""A search that the kernels make at once finds what the same search finds step by step, to the last bit."""

import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

from regard.decoding import Beam, Greedy, Hypothesis, search
from regard.decoding.beam import beam_search
from regard.decoding.constraints import max_lengths
from regard.decoding.greedy import greedy_search
from regard.models.packed import PackedDecoder
from regard.models.transformer import Layers, Transformer

pytestmark = pytest.mark.requires("native")


def translator(vocabulary: int, **options: Any) -> Transformer:
    """Random weights that are large enough to decide, and END likely enough that outputs have several lengths."""
    shape = Layers(dim=16, heads=2, feed_forward=20, layers=2, **options)
    model = Transformer(vocabulary, vocabulary, encoder=shape, decoder=shape)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return model.eval()


def step_by_step(
    model: Transformer, source: torch.Tensor, lengths: torch.Tensor, options: Greedy | Beam
) -> list[list[Hypothesis]]:
    with torch.no_grad():
        state, longest = model.encode(source, lengths), max_lengths(lengths, options)
        if isinstance(options, Greedy):
            return greedy_search(model, state, longest, options)
        return beam_search(model, state, longest, options)


def outcome(by: Callable[..., list[list[Hypothesis]]], *given: object) -> list[list[Hypothesis]] | str:
    """What is found, or what is said where nothing may be emitted any more."""
    try:
        return by(*given)
    except ValueError as error:
        return str(error)


@st.composite
def kinds(draw: st.DrawFn) -> Greedy | Beam:
    longest = draw(st.integers(1, 14))
    limits = {
        "max_length": longest,
        "min_length": draw(st.integers(0, longest - 1)),
        "max_ratio": draw(st.sampled_from([None, 0.7])),
        "max_extra": 1,
        "no_repeat_ngram": draw(st.sampled_from([0, 0, 1, 2, 3])),
    }
    if draw(st.booleans()):
        return Greedy(**limits)
    width = draw(st.integers(1, 6))
    penalty = draw(st.sampled_from([0.0, 0.6, 1.0, 2.0]))
    return Beam(width=width, n_best=draw(st.integers(1, width)), length_penalty=penalty, **limits)


@hypothesis.given(
    options=kinds(),
    positions=st.sampled_from(["sinusoidal", "learned", "rotary"]),
    vocabulary=st.sampled_from([5, 7, 23]),
    seed=st.integers(0, 99),
)
@hypothesis.settings(max_examples=50)
def test_the_same_is_found(options: Greedy | Beam, positions: str, vocabulary: int, seed: int) -> None:
    torch.manual_seed(seed)
    model = translator(vocabulary, positions=positions)
    lengths = torch.randint(1, 8, (4,))
    source = torch.randint(4, vocabulary, (4, int(lengths.max())))
    given = model, source, lengths, options
    assert outcome(search, *given) == outcome(step_by_step, *given)


def test_it_is_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    model = translator(23)

    def step(*_: object) -> None:
        raise AssertionError("asked step by step")

    monkeypatch.setattr(PackedDecoder, "step", step)
    source, lengths = torch.randint(4, 23, (3, 7)), torch.tensor([7, 3, 5])
    for options in (Greedy(max_length=9), Beam(max_length=9)):
        assert len(search(model, source, lengths, options)) == 3
        with pytest.raises(AssertionError, match="step by step"):  # who is told of progress is told at each step
            search(model, source, lengths, options, progress=lambda sentences, tokens: None)


def test_more_steps_than_positions_were_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are asked for one by one: an output may end before it has no more."""
    model = translator(23, positions="learned", longest=10)
    source, lengths = torch.randint(4, 23, (2, 6)), torch.tensor([6, 3])
    options = Beam(max_length=11, min_length=10)
    with pytest.raises(ValueError, match="the input reaches position 11, but the model has learned 10 positions"):
        search(model, source, lengths, options)


@pytest.mark.parametrize("options", [Greedy(), Beam()])
def test_logits_that_are_nan(options: Greedy | Beam) -> None:
    model = translator(23)
    with torch.no_grad():
        model.decoder.norm.bias.fill_(torch.nan)
    said = "logits are NaN or infinite \\(sentence 0 of the batch, after 0 tokens\\): its weights have most likely"
    with pytest.raises(ValueError, match=said):
        search(model, torch.randint(4, 23, (2, 6)), torch.tensor([6, 3]), options)


def test_it_can_be_interrupted() -> None:
    """Between two steps, as a loop in Python is."""
    model = translator(4001)
    source, lengths = torch.randint(4, 4001, (64, 7)), torch.full((64,), 7)
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGALRM, lambda *_: (_ for _ in ()).throw(InterruptedError("enough")))
    try:
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(InterruptedError, match="enough"):
            search(model, source, lengths, Beam(max_length=4000, min_length=3999))
        assert time.monotonic() - began < 30.0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
