"""Normalisers: shares over the allowed keys; each by its definition, and by hand."""

import math

import pytest
import torch
from tests.laws.mechanism import HEADS, NORMALIZERS, WIDE
from tests.laws.rows import PLACE, SHAPE, row, scores_for, some_allowed, weights_of
from torch import nn

import regard
from regard.attention.backends import streamed
from regard.attention.place import Place

ALL = {**NORMALIZERS, "sum": regard.Sum}
# A constant added to all scores of a row changes nothing.
SHIFTED = ("softmax", "sparsemax", "entmax15", "entmax", "top-k", "hard")
EXACT = {"rtol": 1e-12, "atol": 1e-12}


# All of them


@pytest.mark.parametrize("name", ALL)
def test_shares_over_the_allowed_keys(name: str) -> None:
    normalize, allowed = ALL[name](), some_allowed()
    scores = scores_for(name).requires_grad_()
    weights = weights_of(normalize, scores, allowed)
    assert bool((weights >= 0).all())
    assert not weights[~allowed].any()
    total, sees = weights.sum(-1), allowed.any(-1)
    if normalize.sums_to_one:
        torch.testing.assert_close(total, sees.double(), **EXACT)
    else:
        assert bool((total[sees] > 0).all())
        assert not total[~sees].any()
    (gradient,) = torch.autograd.grad((weights * torch.randn(SHAPE, **WIDE)).sum(), scores)
    assert gradient.isfinite().all()
    assert gradient.any()
    assert not gradient[~allowed].any()


@pytest.mark.parametrize("name", [name for name in ALL if name != "sum"])
def test_minus_infinity_is_not_allowed(name: str) -> None:
    """In the weights and in the gradients, also where nothing else is in a row."""
    normalize, allowed, probe = ALL[name](), some_allowed(), torch.randn(SHAPE, **WIDE)
    scores = scores_for(name)
    found = []
    for leaf, mask in ((scores, allowed), (scores.masked_fill(~allowed, -torch.inf), None)):
        leaf.requires_grad_()
        weights = weights_of(normalize, leaf, mask)
        found.append((weights, *torch.autograd.grad((weights * probe).sum(), leaf)))
    for masked, hidden in zip(*found, strict=True):
        torch.testing.assert_close(hidden, masked, **EXACT)


@pytest.mark.parametrize("name", ALL)
def test_allowing_everything_is_no_mask(name: str) -> None:
    normalize, scores = ALL[name](), scores_for(name)
    everything = torch.ones(SHAPE, dtype=torch.bool)
    torch.testing.assert_close(weights_of(normalize, scores, everything), weights_of(normalize, scores), **EXACT)


@pytest.mark.parametrize("name", [name for name in ALL if name != "gumbel"])  # whose noise goes by the key's number
def test_the_order_of_keys_is_nothing(name: str) -> None:
    normalize, scores, allowed = ALL[name](), scores_for(name), some_allowed()
    order = torch.randperm(7)
    torch.testing.assert_close(
        weights_of(normalize, scores[..., order], allowed[..., order]),
        weights_of(normalize, scores, allowed)[..., order],
        **EXACT,
    )


@pytest.mark.parametrize("name", SHIFTED)
def test_a_shift_of_a_row_changes_nothing(name: str) -> None:
    normalize, scores, allowed = ALL[name](), scores_for(name), some_allowed()
    shift = 100.0 * torch.randn(*SHAPE[:3], 1, **WIDE)
    torch.testing.assert_close(
        weights_of(normalize, scores + shift, allowed),
        weights_of(normalize, scores, allowed),
        rtol=1e-10,
        atol=1e-10,
    )


@pytest.mark.parametrize("name", ALL)
def test_a_nan_that_is_seen_is_seen(name: str) -> None:
    """In exactly the rows that may see it, whatever its weight would have been."""
    normalize, allowed = ALL[name](), some_allowed()
    allowed[0, 0, 0] = True
    allowed[0, 0, 1, 3] = False
    scores = scores_for(name)
    scores[..., 3] = torch.nan
    nan = weights_of(normalize, scores, allowed).isnan().any(-1)
    assert torch.equal(nan, allowed[..., 3])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", SHIFTED)
def test_tiny_and_huge_scores(name: str, dtype: torch.dtype) -> None:
    """Scores far below one are all the same, and far above it the highest takes everything."""
    normalize, scores = ALL[name](), scores_for(name).to(dtype)
    order = scores.argsort(-1, descending=True)
    highest = torch.zeros_like(scores).scatter_(-1, order[..., :1], 1.0)
    first = torch.zeros_like(scores).scatter_(-1, order[..., :3], 1.0) / 3  # all that top-k looks at
    tiny = {"hard": highest, "top-k": first}.get(name, torch.full_like(scores, 1 / 7))
    for size, expected in ((1e-30, tiny), (1e-9, tiny), (1e9, highest), (1e30, highest)):
        leaf = (size * scores).requires_grad_()
        weights = weights_of(normalize, leaf)
        torch.testing.assert_close(weights, expected, rtol=1e-6, atol=1e-6)
        assert torch.autograd.grad((weights * torch.randn_like(weights)).sum(), leaf)[0].isfinite().all()


# Softmax with a sink


def test_a_sink_is_one_more_key_without_a_value() -> None:
    query, key, value = (torch.randn(2, HEADS, length, 3, **WIDE) for length in (5, 7, 7))
    sink, nothing = torch.randn(HEADS, **WIDE), torch.zeros(2, HEADS, 1, 3, **WIDE)
    bias = torch.zeros(HEADS, 1, 8, **WIDE)
    bias[:, 0, 7] = sink
    context, seen = regard.observe(
        query,
        key,
        value,
        score=regard.Dot(),
        normalize=regard.Softmax(sink=sink),
        record=[regard.Weights(), regard.LogSumExp()],
    )
    wider, whole = regard.observe(
        query,
        torch.cat((key, nothing), 2),
        torch.cat((value, nothing), 2),
        score=regard.Dot() + regard.Bias(bias),
        record=[regard.Weights()],
    )
    torch.testing.assert_close(context, wider, **EXACT)
    torch.testing.assert_close(seen.weights, whole.weights[..., :7], **EXACT)
    torch.testing.assert_close(seen.logsumexp, (query @ key.mT).logsumexp(-1), **EXACT)  # the sink is not in it


def test_temperature_does_not_touch_a_sink() -> None:
    scores, sink = scores_for("sink"), torch.randn(HEADS, **WIDE)
    column = sink.view(1, -1, 1, 1).expand(*SHAPE[:3], 1)
    torch.testing.assert_close(
        weights_of(regard.Softmax(0.6, sink=sink), scores),
        torch.cat((scores / 0.6, column), -1).softmax(-1)[..., :-1],
        **EXACT,
    )


def test_off_by_one_is_a_sink_of_zero() -> None:
    scores = scores_for("off by one")
    torch.testing.assert_close(
        weights_of(regard.Softmax(sink=0.0), scores), scores.exp() / (1 + scores.exp().sum(-1, keepdim=True)), **EXACT
    )
    far = weights_of(regard.Softmax(sink=0.0), scores - 1e3)
    assert not far.any()  # a query that finds nothing need not look anywhere


def test_a_sink_of_minus_infinity_is_none() -> None:
    scores, allowed = scores_for("sink"), some_allowed()
    torch.testing.assert_close(
        weights_of(regard.Softmax(sink=-math.inf), scores, allowed),
        weights_of(regard.Softmax(), scores, allowed),
        **EXACT,
    )


# Sigmoid


def test_sigmoid_looks_at_each_key_alone() -> None:
    scores, bias = scores_for("sigmoid"), torch.randn(HEADS, **WIDE)
    expected = 1 / (1 + torch.exp(-(scores + bias.view(-1, 1, 1))))
    torch.testing.assert_close(weights_of(regard.Sigmoid(bias), scores), expected, **EXACT)
    torch.testing.assert_close(weights_of(regard.Sigmoid(0.5), scores), torch.sigmoid(scores + 0.5), **EXACT)
    allowed = some_allowed()
    torch.testing.assert_close(weights_of(regard.Sigmoid(bias), scores, allowed), expected * allowed, **EXACT)


def test_sigmoid_begins_as_softmax_does() -> None:
    """Its default bias, `-ln(keys)`, gives scores of zero the weight 1 / (1 + keys) each."""
    torch.testing.assert_close(
        weights_of(regard.Sigmoid(), torch.zeros(SHAPE, **WIDE)), torch.full(SHAPE, 1 / 8, **WIDE)
    )


# Hard


def test_hard_is_one_hot_forward_and_a_softmax_backward() -> None:
    allowed, probe = some_allowed(), torch.randn(SHAPE, **WIDE)
    scores = scores_for("hard").requires_grad_()
    weights = weights_of(regard.Hard(0.7), scores, allowed)
    best = scores.masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
    assert torch.equal(weights, torch.zeros(SHAPE, **WIDE).scatter_(-1, best, 1.0) * allowed)
    soft = weights_of(regard.Softmax(0.7), scores, allowed)
    assert torch.equal(
        torch.autograd.grad((weights * probe).sum(), scores)[0], torch.autograd.grad((soft * probe).sum(), scores)[0]
    )


def test_hard_takes_the_first_of_equal_scores() -> None:
    assert regard.Hard().weights(row(1.0, 2.0, 2.0, 0.0), None).flatten().tolist() == [0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("scores", [(1e-9, 3e-9, 2e-9), (100.0, 100.0 + 1e-13, 0.0), (1e3, 1e3 + 1e-12, -1e3)], ids=str)
def test_hard_takes_the_highest_score_however_close_the_next(scores: tuple[float, ...]) -> None:
    """Also where a softmax rounds both to one number."""
    for dtype in (torch.float32, torch.float64):
        tensor = torch.tensor(scores, dtype=dtype).view(1, 1, 1, -1)
        weights = regard.Hard(1e3).weights(tensor, None)
        assert int(weights.argmax()) == int(tensor.argmax())
        assert float(weights.sum()) == 1.0


def test_gumbel_samples_in_proportion_to_the_softmax() -> None:
    """Within five standard errors of each key's share; keys that are not allowed are never drawn."""
    count, temperature = 20011, 0.7
    scores, allowed = row(0.3, -1.2, 1.1, 0.0, 0.9), torch.tensor([True, True, True, True, False]).view(1, 1, 1, 5)
    place = Place(batch=1, heads=1, queries=count, keys=5)
    drawn = regard.Hard(temperature, gumbel=True).weights(scores.expand(1, 1, count, 5), allowed, place, 7)
    assert torch.equal(drawn.sum(-1), torch.ones(1, 1, count, **WIDE))
    share = regard.Softmax(temperature).weights(scores, allowed).flatten()
    error = (share * (1 - share) / count).sqrt()
    assert bool(((drawn.mean(2).flatten() - share).abs() <= 5 * error).all())


def test_gumbel_draws_by_the_seed_of_its_call() -> None:
    normalize, scores = regard.Hard(gumbel=True), torch.zeros(SHAPE, **WIDE)
    first, again, other = (normalize.weights(scores, None, PLACE, seed) for seed in (3, 3, 5))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match=r"it needs the place and the seed of its call"):
        normalize.weights(scores, None)


def test_gumbel_draws_the_same_for_every_size_of_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    query, key, value = (torch.randn(2, HEADS, length, 3, **WIDE) for length in (11, 13, 13))
    found = []
    for backend, size in (("reference", 1), ("streamed", 1), ("streamed", 100), ("streamed", 2**20)):
        monkeypatch.setitem(streamed.BLOCK, "cpu", size)
        torch.manual_seed(5)
        options = {"normalize": regard.Hard(gumbel=True), "mask": regard.Causal() & regard.Window(3), "offset": 2}
        found.append(
            regard.observe(query, key, value, record=[regard.Weights()], backend=backend, **options)[1].weights
        )
    assert all(torch.equal(weights, found[0]) for weights in found[1:])
    torch.manual_seed(7)
    assert not torch.equal(regard.observe(query, key, value, record=[regard.Weights()], **options)[1].weights, found[0])


# Sum


def test_sum_divides_by_the_sum() -> None:
    allowed = torch.tensor([[True, True, True], [True, False, True], [False, True, False]]).view(1, 1, 3, 3)
    scores = torch.tensor([1.0, 0.0, 3.0], **WIDE).expand(1, 1, 3, 3)
    expected = [[0.25, 0.0, 0.75], [0.25, 0.0, 0.75], [0.0, 0.0, 0.0]]  # the last sees scores of zero alone
    assert regard.Sum().weights(scores, allowed).tolist() == [[expected]]


# What is learned


@pytest.mark.parametrize(
    ("make", "names"),
    [
        (lambda tensor: regard.Softmax(sink=tensor), ["sink"]),
        (lambda tensor: regard.Sigmoid(tensor), ["bias"]),
        (lambda tensor: regard.Entmax(tensor + 2.0), []),
        (lambda tensor: regard.Entmax(nn.Parameter(tensor + 2.0)), ["alpha"]),
    ],
)
def test_an_optimizer_finds_parameters_and_nothing_else(make, names: list[str]) -> None:
    normalize = make(nn.Parameter(torch.zeros(HEADS)))
    assert [name for name, _ in normalize.named_parameters()] == names
    assert list(normalize.state_dict()) == names
