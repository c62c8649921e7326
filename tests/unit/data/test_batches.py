import itertools
import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from regard.data.batches import TokenBatches, collate, length_batches
from regard.data.epochs import Parts
from regard.models.tokens import END, PAD, START

Sentences = list[list[int]]


def corpus(count: int, *, seed: int = 3, longest: int = 47) -> tuple[Sentences, Sentences]:
    """Pairs whose lengths are alike, as translations' are; the first source token numbers the pair."""
    chance = random.Random(seed)
    sources, targets = [], []
    for pair in range(count):
        length = min(longest, max(1, round(chance.lognormvariate(2.6, 0.4))))
        other = min(longest, max(1, round(length * chance.gauss(1.05, 0.15))))
        sources.append([100 + pair] + [7] * (length - 1))
        targets.append([100 + pair] + [11] * (other - 1))
    return sources, targets


def numbers(batches: TokenBatches) -> list[list[int]]:
    return [(batch.source[:, 0] - 100).tolist() for batch in batches]


def test_collate_by_hand() -> None:
    batch = collate([[5, 6, 7], [8]], [[9], [10, 11]])
    assert batch.source.tolist() == [[5, 6, 7, END], [8, END, PAD, PAD]]
    assert batch.source_lengths.tolist() == [4, 2]
    assert batch.target_in.tolist() == [[START, 9, PAD], [START, 10, 11]]
    assert batch.target_out.tolist() == [[9, END, PAD], [10, 11, END]]
    assert batch.count == 5
    assert {tensor.dtype for tensor in (batch.source, batch.source_lengths, batch.target_in)} == {torch.int64}


def test_pack_by_hand() -> None:
    batch = collate([[5, 6, 7], [8]], [[9], [10, 11]], packed=True)
    assert batch.source.tolist() == [[5, 6, 7, END, 8, END]]
    assert batch.source_lengths.tolist() == [4, 2]
    assert batch.target_in.tolist() == [[START, 9, START, 10, 11]]
    assert batch.target_out.tolist() == [[9, END, 10, 11, END]]
    assert batch.target_lengths is not None
    assert batch.target_lengths.tolist() == [2, 3]
    assert batch.count == 5
    assert {tensor.dtype for tensor in batch.inputs} == {torch.int64}


def test_only_a_packed_batch_gives_the_model_the_lengths_of_its_targets() -> None:
    padded, packed = (collate([[5], [6]], [[7], [8]], packed=packed) for packed in (False, True))
    assert len(padded.inputs) == 3
    assert padded.target_lengths is None
    assert len(packed.inputs) == 4
    assert packed.inputs[3] is packed.target_lengths


@pytest.mark.parametrize("packed", [False, True])
def test_a_batch_moves_whole(packed: bool) -> None:
    moved = collate([[5]], [[6, 7]], packed=packed).to("meta")
    assert {tensor.device for tensor in (*moved.inputs, moved.target_out)} == {torch.device("meta")}
    (found,) = length_batches([[5]], tokens=11)
    assert found.to("meta").source.is_meta
    assert found.to(torch.device("meta")).source_lengths.is_meta


lengths = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), min_size=1, max_size=97)


@given(lengths=lengths, tokens=st.integers(31, 211), seed=st.integers(0, 2**40), epoch=st.integers(0, 997))
def test_an_epoch_has_every_pair_once_within_the_budget(lengths, tokens: int, seed: int, epoch: int) -> None:
    sources = [[7] * source for source, _ in lengths]
    targets = [[11] * target for _, target in lengths]
    batches = TokenBatches(sources, targets, tokens=tokens, seed=seed)
    order = batches.order(epoch)
    assert sorted(itertools.chain(*order)) == list(range(len(lengths)))
    assert len(order) == len(batches)
    for pairs in order:
        assert len(pairs) * max(max(lengths[pair]) + 1 for pair in pairs) <= tokens
    batches.set_epoch(epoch)
    for pairs, batch in zip(order, batches, strict=True):
        expected = collate([sources[pair] for pair in pairs], [targets[pair] for pair in pairs])
        assert torch.equal(batch.source, expected.source)
        assert torch.equal(batch.target_out, expected.target_out)
    packed = TokenBatches(sources, targets, tokens=tokens, seed=seed, packed=True)
    packed.set_epoch(epoch)
    for pairs, batch in zip(order, packed, strict=True):
        assert batch.source_lengths.tolist() == [lengths[pair][0] + 1 for pair in pairs]
        assert batch.source.numel() + batch.target_in.numel() == sum(sum(lengths[pair]) + 2 for pair in pairs)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    sources, targets = corpus(997)
    first = TokenBatches(sources, targets, tokens=127, seed=3)
    torch.manual_seed(1)
    random.seed(1)
    state = torch.get_rng_state()
    orders = [first.order(epoch) for epoch in range(3)]
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    random.seed(2)
    assert [TokenBatches(sources, targets, tokens=127, seed=3).order(epoch) for epoch in range(3)] == orders
    assert TokenBatches(sources, targets, tokens=127, seed=4).order(0) not in orders
    # Not only the batches change places: pairs meet others in another epoch.
    kinds = [{frozenset(pairs) for pairs in order if len(pairs) > 1} for order in orders]
    assert len(kinds[0] & kinds[1]) < len(kinds[0]) / 3


def test_little_is_padding() -> None:
    sources, targets = corpus(7001)
    batches = list(TokenBatches(sources, targets, tokens=2503, seed=0))
    cells = sum(batch.source.numel() + batch.target_in.numel() for batch in batches)
    padded = sum(int((batch.source == PAD).sum() + (batch.target_in == PAD).sum()) for batch in batches)
    assert padded / cells < 0.08
    assert sum(batch.count for batch in batches) == sum(len(target) + 1 for target in targets)


def test_iterations_are_epochs() -> None:
    sources, targets = corpus(97)
    batches = TokenBatches(sources, targets, tokens=127, seed=3)
    assert batches.state_dict() == {"epoch": 0, "position": 0}
    assert numbers(batches) == batches.order(0)
    assert batches.state_dict() == {"epoch": 0, "position": len(batches)}
    assert numbers(batches) == batches.order(1)
    batches.set_epoch(5)
    assert numbers(batches) == batches.order(5)
    batches.set_epoch(5)
    assert numbers(batches) == batches.order(5)


def test_an_iteration_that_was_left_starts_its_epoch_again() -> None:
    sources, targets = corpus(97)
    batches = TokenBatches(sources, targets, tokens=127, seed=3)
    next(iter(batches))
    assert numbers(batches) == batches.order(0)


@pytest.mark.parametrize("early", [False, True], ids=["late", "early"])
@pytest.mark.parametrize("announced", [False, True], ids=["alone", "announced"])
def test_a_resumed_run_goes_on_with_the_next_batch(early: bool, announced: bool) -> None:
    """Also when the engine asks for the iterator before it says which epoch it is."""
    sources, targets = corpus(61)
    whole = TokenBatches(sources, targets, tokens=127, seed=3)
    epochs = whole.order(0) + whole.order(1) + whole.order(2)
    for handed_out in range(1, 2 * len(whole)):
        before = TokenBatches(sources, targets, tokens=127, seed=3)
        stream = itertools.chain(before, before)
        seen = [(next(stream).source[:, 0] - 100).tolist() for _ in range(handed_out)]
        state = before.state_dict()
        after = TokenBatches(sources, targets, tokens=127, seed=3)
        after.load_state_dict(state)
        assert after.state_dict() == state
        rest = iter(after) if early else None
        if announced:
            after.set_epoch(state["epoch"] if handed_out % len(whole) else state["epoch"] + 1)
        seen += [(batch.source[:, 0] - 100).tolist() for batch in (rest or after)]
        seen += numbers(after)
        assert seen == epochs[: len(seen)]
        assert len(seen) in (2 * len(whole), 3 * len(whole))


def test_what_cannot_be_batched() -> None:
    with pytest.raises(ValueError, match="2 sources but 1 targets"):
        TokenBatches([[5], [6]], [[7]], tokens=31, seed=0)
    with pytest.raises(ValueError, match="no sentence pairs"):
        TokenBatches([], [], tokens=31, seed=0)
    with pytest.raises(ValueError, match=r"pair 2 has 3 source and 14 target tokens.* more than the 11 .* tokens=14"):
        TokenBatches([[5], [6, 6]], [[7], [8] * 13], tokens=11, seed=0)
    batches = TokenBatches([[5]], [[7]], tokens=31, seed=0)
    with pytest.raises(ValueError, match=r"stood at batch 3 of its epoch, but these data and tokens=31 make 1 batches"):
        batches.load_state_dict({"epoch": 0, "position": 3})


@given(lengths=st.lists(st.integers(0, 40), max_size=61), tokens=st.integers(1, 127))
def test_sentences_to_translate_come_back_in_order(lengths: list[int], tokens: int) -> None:
    sources = [[100 + row] * length for row, length in enumerate(lengths)]
    results: dict[int, list[int]] = {}
    widths = []
    for batch in length_batches(sources, tokens=tokens):
        rows, width = batch.source.shape
        assert rows == len(batch.rows) == len(batch.source_lengths)
        assert rows == 1 or rows * width <= tokens
        widths.append(width)
        for row, sentence, length in zip(batch.rows, batch.source.tolist(), batch.source_lengths.tolist(), strict=True):
            assert row not in results
            assert sentence[length - 1] == END
            assert set(sentence[length:]) <= {PAD}
            results[row] = sentence[: length - 1]
    assert [results[row] for row in range(len(sources))] == sources
    assert widths == sorted(widths, reverse=True)


# Sentences that are cut anew


def test_an_epoch_has_its_own_sentences_and_resumes_among_them() -> None:
    sources, targets = [[5] * (1 + n % 7) for n in range(40)], [[5]] * 40
    asked: list[int] = []

    def recut(epoch: int) -> tuple[list[list[int]], list[list[int]]]:
        asked.append(epoch)
        return [[10 + epoch, *source] for source in sources], [[20 + epoch, *target] for target in targets]

    batches = TokenBatches(sources, targets, tokens=24, seed=3, recut=recut)
    epochs = [list(batches), list(batches)]
    assert asked == [0, 1], "once an epoch"
    for epoch, found in enumerate(epochs):
        assert len(found) == len(batches)
        for batch in found:
            assert (batch.source[:, 0] == 10 + epoch).all()
            assert (batch.target_out[:, 0] == 20 + epoch).all()
    again = TokenBatches(sources, targets, tokens=24, seed=3, recut=recut)
    again.load_state_dict({"epoch": 1, "position": 2})
    for one, other in zip(again, epochs[1][2:], strict=True):
        assert torch.equal(one.source, other.source)
        assert torch.equal(one.target_out, other.target_out)
    assert batches.batch([0]).source[0, 0] == 5, "batches of one's own choice are of the sentences as they were given"


def test_the_parts_of_a_batch_are_its_items() -> None:
    lengths = [random.Random(length).randrange(1, 30) for length in range(67)]
    sentences = [[number] * length for number, length in enumerate(lengths, start=5)]

    def batches(parts: int) -> TokenBatches:
        made = TokenBatches(sentences, sentences, tokens=90, seed=3)
        made.parts = parts
        made.load_state_dict({"epoch": 4, "position": 2})
        return made

    def items(batch) -> list[int]:
        return batch.source[:, 0].tolist()

    whole, cut = list(batches(1)), list(batches(3))
    assert len(whole) == len(cut) == len(batches(1)) - 2
    for batch, parts in zip(whole, cut, strict=True):
        assert isinstance(parts, Parts)
        assert parts.count == batch.count
        assert sorted(item for part in parts.parts for item in items(part)) == sorted(items(batch))
        assert len(parts.parts) == min(3, len(items(batch)))
        sizes = [len(items(part)) for part in parts.parts]
        assert max(sizes) - min(sizes) <= 1
        assert parts.to("cpu").count == batch.count
