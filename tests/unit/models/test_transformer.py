"""The Transformer's own: what is shared, what is turned, and what cannot be built."""

import itertools
import random

import pytest
import torch
from torch import nn

import regard
from regard.data.batches import collate
from regard.models.tokens import PAD
from regard.models.transformer import Decoder, Embedding, Layers, Transformer

SHAPE = Layers(dim=12, heads=3, feed_forward=19, layers=2, dropout=0.0, longest=11)


def test_one_table_for_source_target_and_output():
    model = Transformer(13, 13, encoder=SHAPE, decoder=SHAPE)
    assert model.encoder.embedding.table is model.decoder.embedding.table
    assert model.output_weight is model.decoder.embedding.table.weight
    assert sum(parameter.shape == (13, 12) for parameter in model.parameters()) == 1


def test_separate_tables_share_the_targets_with_the_output_alone():
    model = Transformer(17, 13, encoder=SHAPE, decoder=SHAPE, share=False)
    assert model.encoder.embedding.table.weight.shape == (17, 12)
    assert model.output_weight is model.decoder.embedding.table.weight
    same = Transformer(13, 13, encoder=SHAPE, decoder=SHAPE, share=False)
    assert same.encoder.embedding.table is not same.decoder.embedding.table


def test_embeddings_are_scaled_and_have_positions_added():
    table = nn.Embedding(13, 12)
    embedding = Embedding(table, SHAPE).eval()
    tokens = torch.randint(13, (2, 7))
    zeros = torch.zeros(2, 7, 12)
    expected = table(tokens) * 12**0.5 + embedding.position(zeros, 3)
    torch.testing.assert_close(embedding(tokens, 3), expected)


def test_rotary_turns_self_attention_alone():
    shape = Layers(dim=12, heads=3, positions="rotary", layers=1)
    model = Transformer(13, 13, encoder=shape, decoder=shape)
    block = model.decoder.layers[0]
    assert model.encoder.embedding.position is None
    assert model.encoder.layers[0].attention.rotary is not None
    assert block.attention.rotary is not None
    assert block.cross.rotary is None


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_pre_norm_stack_ends_with_a_norm(norm):
    shape = Layers(dim=12, heads=3, layers=2, norm=norm)
    model = Transformer(13, 13, encoder=shape, decoder=shape)
    for stack in (model.encoder, model.decoder):
        assert isinstance(stack.norm, nn.LayerNorm if norm == "pre" else nn.Identity)


def test_encoder_and_decoder_may_differ_in_all_but_width():
    decoder = Layers(dim=12, heads=2, feed_forward=23, layers=1, norm="post", positions="rotary")
    model = Transformer(13, 13, encoder=SHAPE, decoder=decoder)
    hidden = model(torch.randint(13, (2, 7)), torch.tensor([7, 3]), torch.randint(13, (2, 5)))
    assert hidden.shape == (2, 5, 12)


def test_a_decoder_alone_is_a_language_model():
    decoder = Decoder(Embedding(nn.Embedding(13, 12), SHAPE), SHAPE, cross=False).eval()
    tokens = torch.randint(13, (2, 7))
    hidden = decoder(tokens)
    torch.testing.assert_close(decoder(tokens[:, :4]), hidden[:, :4])
    assert not any("cross" in name for name, _ in decoder.named_parameters())


def test_every_attention_has_a_name_to_watch_it_by():
    model = Transformer(13, 13, encoder=SHAPE, decoder=SHAPE)
    with regard.watch(model, regard.Entropy()) as seen:
        model(torch.randint(13, (2, 7)), torch.tensor([7, 3]), torch.randint(13, (2, 5)))
    encoder = [f"encoder.layers.{layer}.attention" for layer in range(2)]
    decoder = [f"decoder.layers.{layer}.{kind}" for layer in range(2) for kind in ("attention", "cross")]
    assert list(seen) == encoder + decoder
    assert seen["decoder.layers.1.cross"].entropy.shape == (2, 3, 5)


def test_dropout_of_features_and_of_weights_is_for_training():
    shape = Layers(dim=12, heads=3, feed_forward=19, layers=1, dropout=0.0, attention_dropout=0.5)
    model = Transformer(13, 13, encoder=shape, decoder=shape)
    batch = torch.randint(13, (2, 7)), torch.tensor([7, 3]), torch.randint(13, (2, 5))
    assert not torch.equal(model(*batch), model(*batch))
    model.eval()
    assert torch.equal(model(*batch), model(*batch))


@pytest.mark.parametrize("positions", ["learned", "sinusoidal"])
def test_a_text_longer_than_the_learned_positions(positions):
    shape = Layers(dim=12, heads=3, layers=1, positions=positions, longest=5)
    model = Transformer(13, 13, encoder=shape, decoder=shape)
    batch = torch.randint(13, (2, 7)), torch.tensor([7, 3]), torch.randint(13, (2, 5))
    if positions == "sinusoidal":
        assert model(*batch).isfinite().all()
        return
    with pytest.raises(ValueError, match="reaches position 7, but the model has learned 5 positions"):
        model(*batch)


def test_what_cannot_be_built():
    with pytest.raises(ValueError, match="encoder and decoder must have one dim, got 12 and 6"):
        Transformer(13, 13, encoder=SHAPE, decoder=Layers(dim=6, heads=3))
    with pytest.raises(ValueError, match=r"share=True needs one vocabulary, got 17 and 13 tokens; .*share=False"):
        Transformer(17, 13, encoder=SHAPE, decoder=SHAPE)
    with pytest.raises(ValueError, match=r"dim \(12\) must be a multiple of heads \(5\)"):
        Transformer(13, 13, encoder=SHAPE, decoder=Layers(dim=12, heads=5))


def test_weights_start_near_unit_size():
    shape = Layers(dim=64, heads=4, layers=2, dropout=0.0)
    model = Transformer(97, 97, encoder=shape, decoder=shape)
    hidden = model(torch.randint(97, (5, 13)), torch.full((5,), 13), torch.randint(97, (5, 11)))
    logits = (hidden @ model.output_weight.T).detach()
    assert 0.3 < float(logits.std()) < 3


def losses_of_pairs(model: Transformer, sources: list[list[int]], targets: list[list[int]], *, packed: bool):
    """What each target token costs, pair after pair, without padding; and the gradients of their mean."""
    batch = collate(sources, targets, packed=packed)
    logits = model(*batch.inputs) @ model.output_weight.T
    losses = nn.functional.cross_entropy(logits.flatten(0, 1), batch.target_out.flatten(), reduction="none")
    losses = losses[batch.target_out.flatten() != PAD]
    return losses, torch.autograd.grad(losses.mean(), list(model.parameters()))


@pytest.mark.parametrize("backend", ["reference", "sdpa", "native"])
@pytest.mark.parametrize(
    ("norm", "positions"), [("pre", "sinusoidal"), ("post", "sinusoidal"), ("post", "learned"), ("pre", "rotary")]
)
def test_a_packed_batch_costs_what_the_padded_one_does(norm, positions, backend):
    shape = Layers(
        dim=24, heads=6, kv_heads=2, feed_forward=19, layers=2, dropout=0.0, longest=31, norm=norm, positions=positions,
        backend=backend,
    )  # fmt: skip
    torch.manual_seed(1)
    model = Transformer(29, 29, encoder=shape, decoder=shape)
    chance = random.Random(2)
    sources, targets = ([[chance.randrange(4, 29) for _ in range(length)] for length in side]
                        for side in ([7, 0, 30, 1, 13], [5, 11, 0, 30, 2]))  # fmt: skip
    padded, of_padded = losses_of_pairs(model, sources, targets, packed=False)
    packed, of_packed = losses_of_pairs(model, sources, targets, packed=True)
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-5)
    for one, other in zip(of_packed, of_padded, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
    # The order in which pairs are packed changes nothing either.
    order = [3, 0, 4, 1, 2]
    turned, _ = losses_of_pairs(model, [sources[i] for i in order], [targets[i] for i in order], packed=True)
    parts = padded.split([len(target) + 1 for target in targets])
    torch.testing.assert_close(turned, torch.cat([parts[i] for i in order]), rtol=1e-5, atol=1e-5)


def test_where_batches_are_packed():
    with_native = not regard.ops.native.ABSENT
    for dtype, share in itertools.product((torch.float32, torch.bfloat16), (None, 1)):
        assert Layers(dim=12, heads=3, kv_heads=share, attention_dropout=0.1).packs("cpu", dtype) is with_native
    assert not Layers(dim=12, heads=3).packs("cpu", torch.float64), "no kernel computes in float64"
    assert not Layers(dim=12, heads=3, backend="sdpa").packs("cpu")
