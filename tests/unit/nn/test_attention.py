"""Laws of multi-head attention: torch's own layer, and decoding with a cache equal to all at once."""

import pytest
import torch
from torch import Tensor, nn

import regard
from regard.nn import KeyValueCache, MultiHeadAttention, Rotary

BATCH, LENGTH, KEYS, HEADS, WIDTH = 2, 7, 5, 3, 4
DIM = HEADS * WIDTH


def layer_of(dim: int = DIM, heads: int = HEADS, **options) -> MultiHeadAttention:
    """A layer in float64 all of whose parameters are random, biases too."""
    layer = MultiHeadAttention(dim, heads, dtype=torch.float64, **options).double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def inputs_of(length: int = LENGTH, dim: int = DIM, batch: int = BATCH) -> Tensor:
    return torch.randn(batch, length, dim, dtype=torch.float64, requires_grad=True)


def twin_of(layer: MultiHeadAttention, memory_dim: int) -> nn.MultiheadAttention:
    """Torch's layer with the same weights."""
    dim = layer.query.in_features
    widths = {"kdim": memory_dim, "vdim": memory_dim}
    twin = nn.MultiheadAttention(dim, layer.heads, batch_first=True, dtype=torch.float64, **widths)
    key, value = layer.key_value.weight.chunk(2)
    with torch.no_grad():
        if memory_dim == dim:
            twin.in_proj_weight.copy_(torch.cat((layer.query.weight, key, value)))
        else:
            twin.q_proj_weight.copy_(layer.query.weight)
            twin.k_proj_weight.copy_(key)
            twin.v_proj_weight.copy_(value)
        twin.in_proj_bias.copy_(torch.cat((layer.query.bias, layer.key_value.bias)))
        twin.out_proj.weight.copy_(layer.output.weight)
        twin.out_proj.bias.copy_(layer.output.bias)
    return twin


@pytest.mark.parametrize("backend", ["reference", "sdpa"])
def test_self_attention_is_torchs(backend):
    layer = layer_of(backend=backend)
    twin, inputs = twin_of(layer, DIM), inputs_of()
    ahead = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)
    expected, _ = twin(inputs, inputs, inputs, attn_mask=ahead, need_weights=False)
    context = layer(inputs, mask=regard.Causal())
    torch.testing.assert_close(context, expected)
    weight = torch.randn_like(expected)
    (gradient,) = torch.autograd.grad((context * weight).sum(), inputs)
    (expected_gradient,) = torch.autograd.grad((expected * weight).sum(), inputs)
    torch.testing.assert_close(gradient, expected_gradient)


@pytest.mark.parametrize("memory_dim", [DIM, 11])
def test_cross_attention_to_a_padded_memory_is_torchs(memory_dim):
    layer = layer_of(memory_dim=memory_dim)
    twin, inputs, memory = twin_of(layer, memory_dim), inputs_of(), inputs_of(KEYS, memory_dim)
    lengths = torch.tensor([3, KEYS])
    padding = torch.arange(KEYS) >= lengths[:, None]
    expected, weights = twin(inputs, memory, memory, key_padding_mask=padding, average_attn_weights=False)
    with regard.watch(layer, regard.Weights()) as seen:
        context = layer(inputs, memory, mask=regard.Lengths(lengths))
    torch.testing.assert_close(context, expected)
    torch.testing.assert_close(seen[""].weights.double(), weights)


def test_grouped_heads_share_keys_and_values_in_order():
    layer, inputs = layer_of(heads=6, kv_heads=2, head_dim=5), inputs_of()
    query = layer.query(inputs).view(BATCH, LENGTH, 6, 5)
    key, value = layer.key_value(inputs).view(BATCH, LENGTH, 2, 2, 5).unbind(2)
    context = torch.empty(BATCH, LENGTH, 6, 5, dtype=torch.float64)
    for head in range(6):
        group = head // 3
        scores = query[:, :, head] @ key[:, :, group].mT / 5**0.5
        context[:, :, head] = scores.softmax(-1) @ value[:, :, group]
    torch.testing.assert_close(layer(inputs), layer.output(context.flatten(2)))


def variants() -> dict[str, dict]:
    return {
        "plain": {},
        "grouped": {"heads": 6, "kv_heads": 2, "head_dim": 4},
        "rotary": {"rotary": Rotary(WIDTH)},
        "grouped and rotary": {"heads": 6, "kv_heads": 3, "head_dim": 4, "rotary": Rotary(4)},
        "window": {"mask": regard.Window(2)},
        "capped": {"score": regard.SoftCap(regard.ScaledDot(), 3.0)},
    }


CHUNKS = {"step by step": [1] * LENGTH, "in chunks": [3, 1, 2, 1], "at once": [LENGTH]}


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("name", variants())
def test_self_attention_with_a_cache_is_the_one_without(name, chunks):
    layer, inputs = layer_of(**variants()[name]), inputs_of()
    cache = KeyValueCache()
    parts = [layer(part, mask=regard.Causal(), cache=cache) for part in inputs.detach().split(chunks, 1)]
    assert cache.length == LENGTH
    torch.testing.assert_close(torch.cat(parts, 1), layer(inputs, mask=regard.Causal()).detach())


@pytest.mark.parametrize("chunks", CHUNKS.values(), ids=CHUNKS)
@pytest.mark.parametrize("kv_heads", [1, 3])
def test_cross_attention_with_a_cache_projects_the_memory_once(chunks, kv_heads):
    layer = layer_of(kv_heads=kv_heads, memory_dim=11)
    inputs, memory, mask = inputs_of(), inputs_of(KEYS, 11), regard.Lengths([2, KEYS])
    expected = layer(inputs, memory, mask=mask)
    projected: list[int] = []
    layer.key_value.register_forward_hook(lambda module, given, output: projected.append(output.shape[1]))
    cache = KeyValueCache()
    parts = [layer(part, memory, mask=mask, cache=cache) for part in inputs.split(chunks, 1)]
    torch.testing.assert_close(torch.cat(parts, 1), expected)
    assert projected == [KEYS]
    assert cache.length == KEYS


def test_a_cache_follows_the_rows_it_selects():
    layer, inputs = layer_of(rotary=Rotary(WIDTH)), inputs_of(batch=3).detach()
    rows = torch.tensor([2, 0, 0, 2])
    cache = KeyValueCache()
    layer(inputs[:, :4], mask=regard.Causal(), cache=cache)
    cache.select(rows)
    rest = layer(inputs[rows, 4:], mask=regard.Causal(), cache=cache)
    torch.testing.assert_close(rest, layer(inputs, mask=regard.Causal())[rows, 4:])


@pytest.mark.parametrize("rotary", [False, True])
def test_padding_on_either_side_changes_nothing(rotary):
    layer = layer_of(rotary=Rotary(WIDTH) if rotary else None, backend="reference")  # which lets no NaN through
    inputs = inputs_of(batch=1)
    alone = layer(inputs, mask=regard.Causal())
    for left, right in ((0, 3), (3, 0), (2, 1)):
        strange = torch.full((1, 3, DIM), torch.nan, dtype=torch.float64)
        padded = torch.cat((strange[:, :left], inputs, strange[:, :right]), 1)
        mask = regard.Causal() & regard.Lengths([LENGTH], start=[left])
        found = layer(padded, mask=mask)[:, left : left + LENGTH]
        torch.testing.assert_close(found, alone)


def test_an_offset_for_each_row_is_each_rows_own_offset():
    layer, inputs = layer_of(mask=regard.Window(1), rotary=Rotary(WIDTH)), inputs_of()
    together = layer(inputs, offset=torch.tensor([0, 2]))
    for row, offset in enumerate((0, 2)):
        torch.testing.assert_close(together[row], layer(inputs[row : row + 1], offset=offset)[0])


def test_the_layers_mask_and_the_calls_mask_hold_together():
    inputs, lengths = inputs_of(), regard.Lengths([4, LENGTH])
    layer = layer_of(mask=regard.Causal())
    both = layer(inputs, mask=lengths)
    layer.mask = None
    torch.testing.assert_close(both, layer(inputs, mask=regard.Causal() & lengths))


def test_a_normalizer_is_used():
    layer, inputs = layer_of(normalize=regard.Softmax(temperature=0.5)), inputs_of()
    warm = layer(inputs)
    layer.normalize, layer.score = None, regard.ScaledDot(2 * WIDTH**-0.5)
    torch.testing.assert_close(warm, layer(inputs))


LEARNED = {
    "additive": lambda: regard.Additive(WIDTH, 5, heads=HEADS),
    "general": lambda: regard.General(WIDTH, heads=HEADS),
    "capped": lambda: regard.SoftCap(regard.General(WIDTH, heads=HEADS), 5.0),
    "biased": lambda: regard.ScaledDot() + regard.Bias(nn.Parameter(torch.zeros(HEADS, LENGTH, LENGTH))),
    "capped and biased": lambda: (
        regard.SoftCap(regard.General(WIDTH, heads=HEADS), 5.0)
        + regard.Bias(nn.Parameter(torch.zeros(HEADS, 1, LENGTH)))
    ),
}


@pytest.mark.parametrize("name", LEARNED)
def test_what_a_score_learns_is_found_and_trained(name):
    layer, inputs = layer_of(score=LEARNED[name]()), inputs_of()
    learned = {key: value for key, value in layer.named_parameters() if key.startswith("score.")}
    assert len(learned) == {"additive": 3, "capped and biased": 2}.get(name, 1)
    before = {key: value.detach().clone() for key, value in learned.items()}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    loss = layer(inputs, mask=regard.Causal()).square().mean()
    loss.backward()
    optimizer.step()
    assert all(not torch.equal(value, before[key]) for key, value in learned.items())
    assert layer(inputs, mask=regard.Causal()).square().mean() < loss


def test_weights_are_dropped_in_training_alone():
    layer, inputs = layer_of(dropout=0.5), inputs_of()
    plain = layer.eval()(inputs)
    torch.testing.assert_close(plain, layer(inputs))
    layer.train()
    torch.manual_seed(3)
    dropped = layer(inputs)
    assert not torch.allclose(dropped, plain)
    torch.manual_seed(3)
    assert torch.equal(dropped, layer(inputs))


def test_sizes_that_do_not_fit():
    with pytest.raises(ValueError, match=r"dim \(13\) must be a multiple of heads \(3\), or head_dim given"):
        MultiHeadAttention(13, 3)
    with pytest.raises(ValueError, match=r"heads \(3\) must be a multiple of kv_heads \(2\)"):
        MultiHeadAttention(DIM, 3, kv_heads=2)
    assert MultiHeadAttention(13, 3, head_dim=5)(torch.randn(2, 7, 13)).shape == (2, 7, 13)


def test_rotary_is_for_self_attention():
    layer = layer_of(rotary=Rotary(WIDTH))
    with pytest.raises(ValueError, match=r"queries and keys of one sequence.*without rotary for a memory"):
        layer(inputs_of(), inputs_of(KEYS))


@pytest.mark.parametrize(
    "score",
    [
        regard.ScaledDot() + regard.Alibi(2),
        regard.SoftCap(regard.Dot() + regard.RelativeBias(2), 3.0),
        regard.RelativeKeys(4, 3, heads=2),
    ],
    ids=repr,
)
def test_relative_positions_are_of_one_sequence(score: regard.Score) -> None:
    layer = MultiHeadAttention(8, 2, score=score)
    inputs = torch.randn(3, 5, 8)
    assert layer(inputs).shape == inputs.shape
    with pytest.raises(ValueError, match="reads positions of one sequence, and inputs and memory are two"):
        layer(inputs, torch.randn(3, 5, 8))
    placed = regard.ScaledDot() + regard.Alibi(2, torch.arange(5), torch.arange(7))
    assert MultiHeadAttention(8, 2, score=placed)(inputs, torch.randn(3, 7, 8)).shape == inputs.shape


@pytest.mark.parametrize("bias", [True, False])
def test_one_product_for_query_key_and_value_in_training_changes_nothing(bias):
    layer = layer_of(bias=bias, kv_heads=1)
    inputs = inputs_of(length=31)
    target = torch.randn(BATCH, 31, DIM, dtype=torch.float64)

    def step() -> list[Tensor]:
        output = layer(inputs, mask=regard.Causal())
        return [output, *torch.autograd.grad((output * target).sum(), [inputs, *layer.parameters()])]

    joined, calls = step(), []
    layer.query.register_forward_hook(lambda *_: calls.append("query"))  # whoever waits for a call gets it
    for one, other in zip(joined, step(), strict=True):
        torch.testing.assert_close(one, other)
    assert calls == ["query"]


def test_without_gradients_or_with_few_inputs_there_are_two_products(monkeypatch):
    layer, shapes = layer_of(), []
    linear = nn.functional.linear
    monkeypatch.setattr(nn.functional, "linear", lambda x, w, b: shapes.append(tuple(w.shape)) or linear(x, w, b))
    apart, joined = [(DIM, DIM), (2 * DIM, DIM)], [(3 * DIM, DIM)]
    for length, grad, expected in [(31, True, joined), (31, False, apart), (3 * DIM // BATCH, True, apart)]:
        shapes.clear()
        with torch.set_grad_enabled(grad):
            layer(inputs_of(length))
        assert shapes == [*expected, (DIM, DIM)]
