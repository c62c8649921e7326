"""The steps of a packed decoder are those of the decoder, whatever a search does with its rows."""

import gc

import hypothesis
import hypothesis.strategies as st
import pytest
import torch

import regard
from regard.decoding import Beam, Greedy, search
from regard.models import packed
from regard.models.packed import PackedDecoder
from regard.models.transformer import Layers, Transformer, TransformerState
from regard.ops.steps import fingerprint

pytestmark = pytest.mark.requires("native")
SHAPES = {
    "pre": {},
    "post": {"norm": "post"},
    "learned": {"positions": "learned", "longest": 64},
    "rotary": {"positions": "rotary", "norm": "post"},
    "grouped": {"kv_heads": 2, "activation": "gelu"},
    "silu": {"activation": "silu", "positions": "rotary", "kv_heads": 1},
}


def transformer(name: str, **options: object) -> Transformer:
    shape = Layers(dim=32, heads=4, feed_forward=52, layers=2, dropout=0.1, **{**SHAPES[name], **options})  # type: ignore[arg-type]
    model = Transformer(23, 23, encoder=shape, decoder=shape)
    for parameter in model.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


def sources() -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([7, 2, 5])
    return torch.randint(4, 23, (3, 7)) * (torch.arange(7) < lengths[:, None]), lengths


def unpacked(model: Transformer, source: torch.Tensor, lengths: torch.Tensor) -> TransformerState:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PackedDecoder, "fits", lambda decoder, memory: False)
        state = model.encode(source, lengths)
    assert isinstance(state, TransformerState)
    return state


@pytest.mark.parametrize("name", SHAPES)
@hypothesis.given(data=st.data())
@hypothesis.settings(max_examples=10)
def test_its_steps_are_those_of_the_decoder(name: str, data: st.DataObject) -> None:
    model = transformer(name)
    with torch.no_grad():
        source, lengths = sources()
        state, expected = model.encode(source, lengths), unpacked(model, source, lengths)
        assert isinstance(state, PackedDecoder)
        rows = 3
        for _ in range(data.draw(st.integers(1, 6))):
            tokens = torch.randint(23, (rows,))
            torch.testing.assert_close(model.step(tokens, state), model.step(tokens, expected), rtol=1e-4, atol=1e-4)
            chosen = data.draw(st.lists(st.integers(0, rows - 1), min_size=1, max_size=9))
            together = torch.tensor(sorted(chosen) if data.draw(st.booleans()) else chosen)
            state.select(together)
            expected.select(together)
            rows = len(together)


def test_there_is_room_for_many_steps() -> None:
    model = transformer("pre")
    with torch.no_grad():
        batch = sources()
        state, expected = model.encode(*batch), unpacked(model, *batch)
        for step in range(70):
            tokens = torch.randint(23, (3,))
            found = model.step(tokens, state)
            torch.testing.assert_close(found, model.step(tokens, expected), rtol=1e-4, atol=1e-4, msg=f"step {step}")


@pytest.mark.parametrize("options", [Greedy(max_length=13), Beam(width=4, n_best=3, max_length=13)])
def test_a_search_finds_the_same(options: Greedy | Beam, monkeypatch: pytest.MonkeyPatch) -> None:
    model, batch = transformer("pre"), sources()
    found = search(model, *batch, options)
    monkeypatch.setattr(PackedDecoder, "fits", lambda decoder, memory: False)
    expected = search(model, *batch, options)
    for of_one, others in zip(found, expected, strict=True):
        assert [one.tokens for one in of_one] == [one.tokens for one in others]
        assert [one.score for one in of_one] == pytest.approx([one.score for one in others], abs=1e-4)


def test_lengths_may_be_of_any_integer() -> None:
    model, (source, lengths) = transformer("pre"), sources()
    assert search(model, source, lengths.int(), Greedy(max_length=7)) == search(
        model, source, lengths, Greedy(max_length=7)
    )


def test_a_number_that_changes_is_seen_by_the_next_search() -> None:
    """Whichever it is, and though neither torch's counts of changes nor the tensors' addresses tell."""
    model, (source, lengths) = transformer("pre"), sources()
    for changed in (model.output_weight, *model.get_submodule("decoder").layers.parameters()):
        with torch.no_grad():
            model.encode(source, lengths)
            changed.data.flatten()[torch.randint(changed.numel(), ())] += 4.0
            state, expected = model.encode(source, lengths), unpacked(model, source, lengths)
            for _ in range(2):
                tokens = torch.arange(4, 7)
                torch.testing.assert_close(
                    model.step(tokens, state), model.step(tokens, expected), rtol=1e-4, atol=1e-4
                )


def test_weights_are_laid_out_once() -> None:
    model, one = transformer("pre"), torch.tensor([[4, 5, 3]])
    decoder = model.get_submodule("decoder")
    first = packed._laid_out(decoder, model.output_weight)
    search(model, one, torch.tensor([3]), Greedy(max_length=3))
    assert packed._laid_out(decoder, model.output_weight) is first
    kept = len(packed._KEPT)
    del model, decoder
    gc.collect()
    assert len(packed._KEPT) < kept


@hypothesis.given(sizes=st.lists(st.integers(0, 70), min_size=1, max_size=3), data=st.data())
def test_a_fingerprint_tells_every_bit_and_its_place(sizes: list[int], data: st.DataObject) -> None:
    tensors = [torch.randn(size) for size in sizes]
    before = fingerprint(tensors)
    assert fingerprint([tensor.clone() for tensor in tensors]) == before
    assert fingerprint([*tensors, torch.empty(0)]) != before
    whole = [tensor for tensor in tensors if len(tensor)]
    if not whole:
        return
    changed = data.draw(st.sampled_from(whole)).view(torch.int32)
    place = data.draw(st.integers(0, len(changed) - 1))
    changed[place] ^= 1 << data.draw(st.integers(0, 30))
    assert fingerprint(tensors) != before


def test_who_watches_or_derives_gets_the_decoder_itself() -> None:
    model, (source, lengths) = transformer("pre"), sources()
    assert isinstance(model.encode(source, lengths), TransformerState), "gradients are wanted"
    with torch.no_grad():
        with regard.watch(model, regard.Entropy()):
            assert isinstance(model.encode(source, lengths), TransformerState)
        model.train()
        assert isinstance(model.encode(source, lengths), TransformerState)
        model.eval()
        with model.decoder.layers[0].attention.register_forward_hook(lambda *call: None):
            assert isinstance(model.encode(source, lengths), TransformerState), "somebody waits for its calls"
        assert isinstance(model.double().encode(source, lengths), TransformerState)
