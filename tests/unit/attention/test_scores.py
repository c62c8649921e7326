"""Scores and terms: what they say to values that do not fit, and how they print themselves."""

import re

import pytest
import torch

import regard
from regard.attention.place import Place
from regard.attention.scores import Score, Term

PLACE = Place(batch=2, heads=3, queries=5, keys=7)


def refuses(error: type[Exception], text: str) -> pytest.RaisesExc:
    return pytest.raises(error, match=re.escape(text))


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("score", [regard.ScaledDot(), regard.General(5), regard.SoftCap(regard.Dot(), 3.0)], ids=repr)
def test_only_terms_are_added(score: Score) -> None:
    text = "only terms can be added to a score, not Tensor; wrap the tensor: score + regard.Bias(tensor)"
    with refuses(TypeError, text):
        score + torch.zeros(5, 7)
    with refuses(TypeError, "only terms can be added to a score, not float"):
        score + 1.0
    with refuses(TypeError, "only terms can be added to a score, not Dot"):
        score + regard.Dot()


def test_general_fits_the_call() -> None:
    text = (
        "General was built for (heads, query_dim, key_dim) = (3, 11, 13), but the call has (2, 11, 7); "
        "build it as regard.General(11, key_dim=7, heads=2)"
    )
    score = regard.General(11, key_dim=13, heads=3)
    with refuses(ValueError, text):
        score.check((2, 2, 5, 11), (2, 2, 7, 7), False, PLACE)
    query, key, value = torch.randn(3, 2, 2, 5, 7)
    with refuses(ValueError, "build it as regard.General(7, key_dim=7, heads=2)"):
        regard.attend(query, key, value, score=score)


def test_additive_fits_the_call() -> None:
    text = (
        "Additive was built for (heads, kv_heads, query_dim, key_dim) = (4, 2, 11, 13), but the call has "
        "(4, 4, 11, 7); build it as regard.Additive(11, 5, key_dim=7, heads=4, kv_heads=4)"
    )
    score = regard.Additive(11, 5, key_dim=13, heads=4, kv_heads=2)
    with refuses(ValueError, text):
        score.check((2, 4, 5, 11), (2, 4, 7, 7), False, PLACE)
    score.check((2, 4, 5, 11), (2, 2, 7, 13), False, PLACE)
    score.check((2, 4, 5, 11), (2, 2, 7, 5), True, PLACE)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("shape", [(2, 3, 7, 13), (2, 2, 7, 11), (2, 7, 13)], ids=str)
def test_additive_prepares_the_keys_it_was_built_for(shape: tuple[int, ...]) -> None:
    score = regard.Additive(11, 5, key_dim=13, heads=4, kv_heads=2)
    text = f"prepare takes keys of shape (batch, kv_heads=2, keys, key_dim=13), got {shape}"
    with refuses(ValueError, text):
        score.prepare(torch.randn(shape))
    with refuses(ValueError, text):
        regard.SoftCap(score, 2.0).prepare(torch.randn(shape))


@pytest.mark.parametrize("cap", [0.0, -1.0, float("nan")])
def test_cap_is_positive(cap: float) -> None:
    with refuses(ValueError, f"SoftCap needs a cap > 0, got {cap}"):
        regard.SoftCap(regard.Dot(), cap)


def test_bias_is_of_numbers() -> None:
    text = (
        "Bias takes a floating-point tensor to add to the scores, got torch.bool; "
        "a boolean tensor of allowed pairs is a mask: mask=regard.Dense(tensor)"
    )
    with refuses(TypeError, text):
        regard.Bias(torch.ones(5, 7, dtype=torch.bool))


@pytest.mark.usefixtures("unchecked")
def test_bias_is_a_tensor() -> None:
    with refuses(TypeError, "Bias takes a floating-point tensor to add to the scores, got float"):
        regard.Bias(0.5)


@pytest.mark.parametrize("shape", [(7, 5), (2, 3, 5, 1, 7), (3, 1, 5, 7)], ids=str)
def test_bias_broadcasts(shape: tuple[int, ...]) -> None:
    text = f"Bias({shape}) does not broadcast to (batch, heads, queries, keys) = (2, 3, 5, 7)"
    score = regard.ScaledDot() + regard.Bias(torch.zeros(shape))
    query, key, value = torch.randn(2, 3, 5, 11), torch.randn(2, 3, 7, 11), torch.randn(2, 3, 7, 11)
    for whole in (score, regard.SoftCap(score, 2.0), score + regard.Bias(torch.zeros(()))):
        with refuses(ValueError, text):
            regard.attend(query, key, value, score=whole)


def test_own_scores_and_terms_say_what_they_are() -> None:
    class Mine(Score):
        pass

    class Plus(Term):
        pass

    query, key, value = torch.randn(3, 2, 3, 5, 7)
    with refuses(NotImplementedError, "Mine does not define matrix()"):
        regard.attend(query, key, value, score=Mine())
    with refuses(NotImplementedError, "Plus does not define matrix()"):
        regard.attend(query, key, value, score=regard.Dot() + Plus())


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (regard.ScaledDot(0.5), "ScaledDot(scale=0.5)"),
        (regard.Dot() + regard.Bias(torch.zeros(5, 7)), "Dot() + Bias((5, 7))"),
        (regard.General(11, heads=3), "General(query_dim=11, key_dim=11, heads=3)"),
        (regard.SoftCap(regard.Dot(), 50.0), "SoftCap(Dot(), cap=50.0)"),
        (regard.Additive(7, 5), "Additive(query_dim=7, hidden=5, key_dim=7, heads=1, kv_heads=1)"),
    ],
    ids=str,
)
def test_they_print_as_they_are_written(score: Score, text: str) -> None:
    assert repr(score) == text


def test_weights_are_made_where_they_are_wanted() -> None:
    for make in (regard.General, lambda width, **options: regard.Additive(width, 3, **options)):
        score = make(5, device=torch.device("meta"), dtype=torch.bfloat16)
        assert {(p.device.type, p.dtype) for p in score.parameters()} == {("meta", torch.bfloat16)}


def test_weights_travel_in_a_state_dict() -> None:
    query, key, value = torch.randn(3, 2, 3, 5, 7)
    first, second = (regard.Additive(7, 5, heads=3) for _ in range(2))
    second.load_state_dict(first.state_dict())
    assert torch.equal(regard.attend(query, key, value, score=second), regard.attend(query, key, value, score=first))
