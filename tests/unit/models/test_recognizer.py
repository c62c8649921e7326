"""Recognizers: padding and neighbours change nothing, and CTC and attention can decide together."""

import math
from itertools import product
from typing import Any, get_args

import pytest
import torch
from torch.nn import functional

from regard.decoding import Beam, Greedy, Hypothesis, search
from regard.decoding.joint import Joint
from regard.models.ngram import NGram
from regard.models.recognizer import Kind, Listening, Recognizer, ctc_loss, flat_start_loss
from regard.models.speller import SpellingState
from regard.models.tokens import BLANK, END, PAD, START, UNKNOWN
from regard.models.transformer import Layers
from regard.nn.conformer import quarter

SHAPE = Layers(dim=16, heads=2, feed_forward=24, layers=2, dropout=0.0, positions="rotary")
KINDS = get_args(Kind)
FRAMES = torch.tensor([21, 12])


def recognizer(*, kind: Kind = "conformer", decoder: bool = True, vocabulary: int = 7) -> Recognizer:
    torch.manual_seed(0)
    shape = Layers(dim=16, heads=2, feed_forward=24, layers=1, dropout=0.0)
    return Recognizer(
        vocabulary, Listening(bands=10, of_block=SHAPE, kind=kind, kernel=5), shape if decoder else None
    ).eval()


@pytest.mark.parametrize("kind", KINDS)
def test_a_recording_is_heard_alike_beside_others(kind: Kind) -> None:
    model, features = recognizer(kind=kind), torch.randn(2, 21, 10)
    together = model.encoder(features, FRAMES)
    alone = model.encoder(features[1:, :12], FRAMES[1:])
    torch.testing.assert_close(together[1:, :3], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_teacher_forcing(kind: Kind) -> None:
    model, features = recognizer(kind=kind), torch.randn(2, 21, 10)
    target = torch.tensor([[START, 4, 5], [START, 6, 4]])
    expected = model(features, FRAMES, target) @ model.output_weight.T
    state = model.encode(features, FRAMES)
    for place in range(3):
        torch.testing.assert_close(model.step(target[:, place], state), expected[:, place], rtol=1e-4, atol=1e-4)


def test_a_flat_start_spreads_tokens_evenly() -> None:
    """By hand: of seven positions, three tokens have the second, the fourth and the sixth; one of ten has the sixth."""
    labels = torch.randn(3, 10, 7).log_softmax(-1)
    target, counts, lengths = torch.tensor([[4, 5, 4], [6, PAD, PAD], [4, 5, 6]]), (3, 1, 3), (7, 10, 2)
    spread = [[BLANK, 4, BLANK, 5, BLANK, 4, BLANK], [BLANK] * 5 + [6] + [BLANK] * 4]
    expected = -sum(labels[row, place, token] for row in range(2) for place, token in enumerate(spread[row]))
    loss = flat_start_loss(labels, torch.tensor(lengths), target, torch.tensor(counts))
    torch.testing.assert_close(loss, expected / 7)  # of seven tokens, the last three of which have no room


def test_a_flat_start_is_one_way_of_those_of_ctc() -> None:
    labels, lengths = torch.randn(2, 9, 7).log_softmax(-1), torch.tensor([9, 6])
    target, counts = torch.tensor([[4, 5, 4], [6, 5, PAD]]), torch.tensor([3, 2])
    assert flat_start_loss(labels, lengths, target, counts) > ctc_loss(labels, lengths, target, counts)


def test_bands_are_brought_to_one_scale() -> None:
    model, features = recognizer(), 5.0 + 3.0 * torch.randn(1, 40, 10)
    model.encoder.measure(features[0])
    scaled = (features - model.encoder.mean) / model.encoder.spread
    torch.testing.assert_close(scaled.mean((0, 1)), torch.zeros(10), rtol=0.0, atol=1e-5)
    fresh = recognizer()
    torch.testing.assert_close(
        model.encoder(features, torch.tensor([40])), fresh.encoder(scaled, torch.tensor([40])), rtol=1e-4, atol=1e-5
    )


def test_the_loss_is_the_sum_over_all_ways() -> None:
    labels = torch.randn(1, 4, 6).log_softmax(-1)
    text = [4, 4]
    total = 0.0
    for path in product(range(6), repeat=4):
        once = [label for place, label in enumerate(path) if place == 0 or label != path[place - 1]]
        if [label for label in once if label != BLANK] == text:
            total += math.exp(sum(float(labels[0, place, label]) for place, label in enumerate(path)))
    found = ctc_loss(labels, torch.tensor([4]), torch.tensor([text]), torch.tensor([2]))
    assert float(found) == pytest.approx(-math.log(total) / 2, rel=1e-5)


def test_a_sound_too_short_for_its_text_adds_nothing() -> None:
    labels = torch.randn(2, 3, 6).log_softmax(-1)
    target, lengths = torch.tensor([[4, 4, 4], [5, PAD, PAD]]), torch.tensor([3, 1])
    found = ctc_loss(labels, torch.tensor([3, 3]), target, lengths)
    alone = ctc_loss(labels[1:], torch.tensor([3]), target[1:, :1], lengths[1:])
    assert float(found) == pytest.approx(float(alone) / 4)


def written(
    model: Recognizer, features: torch.Tensor, frames: torch.Tensor, options: Greedy | Beam, *shares: Any
) -> list[list[Hypothesis]]:
    """What is found for recordings, with these shares of CTC and a language model."""
    with torch.no_grad():
        heard = model.hear(features, frames)
    return search(Joint(model, heard, *shares), heard.labels, heard.lengths, options)


def score_of(model: Recognizer, features: torch.Tensor, text: tuple[int, ...], share: float) -> float:
    """What the joint score of a text is by its definition, from the two models' own."""
    frames = torch.tensor([features.shape[1]])
    labels = model.frame_labels(model.encoder(features, frames))
    of_ctc = -float(
        functional.ctc_loss(
            labels.transpose(0, 1),
            torch.tensor([text]),
            quarter(frames),
            torch.tensor([len(text)]),
            blank=BLANK,
            reduction="sum",
        )
    )
    logits = model(features, frames, torch.tensor([[START, *text]])) @ model.output_weight.T
    picked = logits.log_softmax(-1)[0].gather(1, torch.tensor([*text, END])[:, None])
    return (1 - share) * float(picked.sum()) + share * of_ctc


@pytest.mark.parametrize("share", [0.3, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_a_wide_beam_finds_the_best_text(kind: Kind, share: float) -> None:
    """Of all texts of up to three tokens."""
    model, features = recognizer(kind=kind, vocabulary=6), torch.randn(1, 12, 10)
    texts = [text for length in range(4) for text in product((4, 5), repeat=length)]
    with torch.no_grad():
        expected = {text: score_of(model, features, text, share) for text in texts if len(text)}
        beam = Beam(width=20, length_penalty=0.0, max_length=5, n_best=3, min_length=1)
        found = written(model, features, torch.tensor([12]), beam, share)[0]
    best = max(expected, key=lambda text: expected[text])
    assert found[0].tokens == best
    assert found[0].score == pytest.approx(expected[best], abs=1e-3)
    assert not {PAD, UNKNOWN, START} & {token for one in found for token in one.tokens}


def test_a_language_model_has_its_say() -> None:
    """With all the weight in the world the text is the one that it knows."""
    model, features = recognizer(vocabulary=6), torch.randn(1, 40, 10)
    language = NGram([[5, 4, 5]] * 50, 6, 4)
    beam = Beam(width=6, length_penalty=0.0, max_length=8)
    (found,) = written(model, features, torch.tensor([40]), beam, 0.3, language, 50.0)[0]
    assert found.tokens == (5, 4, 5)
    (plain,) = written(model, features, torch.tensor([40]), beam, 0.3)[0]
    (same,) = written(model, features, torch.tensor([40]), beam, 0.3, language, 0.0)[0]
    assert same == plain


def test_ctc_alone_needs_no_decoder() -> None:
    model, features = recognizer(decoder=False), torch.randn(2, 21, 10)
    found = written(model, features, FRAMES, Beam(width=4, length_penalty=0.0), 0.3)
    assert [len(one) for one in found] == [1, 1]
    assert written(model, features, FRAMES, Greedy(), 0.3)[0][0].finished
    with pytest.raises(ValueError, match="this recognizer has CTC alone"):
        model(features, FRAMES, torch.tensor([[START], [START]]))


def test_a_speller_knows_where_it_looked() -> None:
    """What it looks at next depends on where it looked; before the first token, at all of the sound alike."""
    model, features = recognizer(kind="recurrent"), torch.randn(1, 40, 10)
    state = model.encode(features, torch.tensor([38]))
    assert isinstance(state, SpellingState)
    torch.testing.assert_close(state.looked, torch.full((1, 1, 10), 0.1))
    model.step(torch.tensor([START]), state)
    assert not torch.allclose(state.looked, torch.full((1, 1, 10), 0.1))
    torch.testing.assert_close(state.looked.sum(-1), torch.ones(1, 1))
    other = model.encode(features, torch.tensor([38]))
    other.looked = torch.eye(10)[None, :1]
    model.step(torch.tensor([START]), other)
    assert not torch.allclose(state.looked, other.looked)
