"""Captioners: of the protocol of encoder-decoders, each word attending to the places of the picture."""

import pytest
import torch

import regard
from regard.decoding import Beam, Greedy, search
from regard.models.captioner import Captioner, ShowAttendTell
from regard.models.seq2seq import Seq2Seq
from regard.models.tokens import START
from regard.models.transformer import Layers
from regard.models.vision import Pyramid, VisualEncoder

SHAPE = Pyramid(
    dims=(8, 16, 24, 32), convolutions=(1, 0, 0, 0), attention=(0, 0, 1, 0),
    attends=("none", "none", "global", "none"), head_dim=8,
)  # fmt: skip
KINDS = ["transformer", "soft", "hard"]


def build(kind: str) -> Captioner | ShowAttendTell:
    torch.manual_seed(1)
    if kind == "transformer":
        return Captioner(VisualEncoder(SHAPE), 11, Layers(dim=12, heads=2, feed_forward=16, layers=2, dropout=0.0))
    return ShowAttendTell(VisualEncoder(SHAPE), 11, dim=12, hidden=14, hard=kind == "hard", dropout=0.0)


def pictures(*size: int) -> torch.Tensor:
    return torch.randint(0, 256, size, generator=torch.Generator().manual_seed(2)).byte()


TARGET = torch.tensor([[START, 5, 7, 9], [START, 6, 4, 8], [START, 9, 9, 5]])


@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_teacher_forcing(kind):
    model = build(kind).eval()
    assert isinstance(model, Seq2Seq)
    given, ones = pictures(3, 3, 48, 64), torch.ones(3, dtype=torch.long)
    hidden = model(given, ones, TARGET)
    assert hidden.shape == (3, 4, 12)
    state = model.encode(given, ones)
    for step in range(4):
        logits = model.step(TARGET[:, step], state)
        torch.testing.assert_close(logits, hidden[:, step] @ model.output_weight.T, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_with_several_captions_is_read_once(kind):
    model = build(kind).eval()
    given = pictures(2, 3, 48, 64)
    together = model(given, torch.tensor([2, 1]), TARGET)
    one = torch.ones(1, dtype=torch.long)
    apart = [model(given[row : row + 1], one, TARGET[n : n + 1]) for n, row in enumerate((0, 0, 1))]
    torch.testing.assert_close(together, torch.cat(apart), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_a_state_can_be_reordered(kind):
    model = build(kind).eval()
    state = model.encode(pictures(3, 3, 48, 64), torch.ones(3, dtype=torch.long))
    model.step(TARGET[:, 0], state)
    other = model.encode(pictures(3, 3, 48, 64), torch.ones(3, dtype=torch.long))
    model.step(TARGET[:, 0], other)
    rows = torch.tensor([2, 0, 0])
    other.select(rows)
    expected = model.step(torch.tensor([5, 6, 7]), state)
    found = model.step(torch.tensor([7, 5, 5]), other)
    torch.testing.assert_close(found[0], expected[2], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], expected[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found[1], found[2])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [Greedy(max_length=6), Beam(width=3, max_length=6, n_best=2)])
def test_pictures_are_searched_like_sentences(kind, options):
    found = search(build(kind), pictures(2, 3, 48, 64), torch.ones(2, dtype=torch.long), options)
    assert len(found) == 2
    assert all(len(one.tokens) <= 6 for of_one in found for one in of_one)


@pytest.mark.parametrize("kind", ["soft", "hard"])
def test_what_places_receive_is_one_a_word(kind):
    model = build(kind).eval()
    given, counts = pictures(2, 3, 48, 64), torch.tensor([2, 1])
    with regard.watch(model, regard.Weights(), layers=[""]) as seen:
        hidden, received = model.with_received(given, counts, TARGET, torch.tensor([4, 2, 3]))
    torch.testing.assert_close(received.sum(-1), torch.tensor([4.0, 2.0, 3.0]))
    torch.testing.assert_close(hidden, model(given, counts, TARGET))
    weights = seen.stitched("").weights[:, 0]  # captions words places
    torch.testing.assert_close(received[0], weights[0].sum(0))
    torch.testing.assert_close(received[1], weights[1, :2].sum(0))
    if kind == "hard":
        assert set(weights.unique().tolist()) == {0.0, 1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_is_trained(kind):
    model = build(kind)
    hidden = model(pictures(2, 3, 64, 64), torch.tensor([2, 1]), TARGET)
    (hidden @ model.output_weight.T).square().sum().backward()
    unused = {name for name, weight in model.named_parameters() if weight.grad is None}
    # What lies behind the map that words attend to is not read.
    assert {name for name in unused if not name.startswith("memory.encoder.stages.3")} == set()
