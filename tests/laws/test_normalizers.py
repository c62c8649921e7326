"""Normalisers: shares over the allowed keys; each by its definition, by hand, and by the package of its authors."""

import math

import entmax
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.laws.mechanism import HEADS, NORMALIZERS
from torch import Tensor, nn

import regard
from regard.attention.backends import streamed
from regard.attention.place import Place

WIDE = {"dtype": torch.float64}
SHAPE = (2, HEADS, 5, 7)
PLACE = Place(batch=2, heads=HEADS, queries=5, keys=7)
ALL = {**NORMALIZERS, "sum": regard.Sum}
SPARSE = {"sparsemax": 2.0, "entmax15": 1.5, "entmax": None}  # and their alpha; None: one for each head
SHIFTED = ("softmax", *SPARSE, "top-k", "hard")  # a constant added to all scores of a row changes nothing
EXACT = {"rtol": 1e-12, "atol": 1e-12}


def scores_for(name: str) -> Tensor:
    scores = 2.0 * torch.randn(SHAPE, **WIDE)
    return scores.abs() if name == "sum" else scores


def some_allowed() -> Tensor:
    """Rows that see several keys, rows that see one, and rows that see none."""
    allowed = torch.rand(SHAPE) < 0.6
    allowed[0, 1, 2] = False
    allowed[1, :, 4] = False
    allowed[1, 2, 3] = torch.arange(7) == 5
    return allowed


def weights_of(normalize: regard.Normalizer, scores: Tensor, allowed: Tensor | None = None) -> Tensor:
    return normalize.weights(scores, allowed, PLACE, 3)


def row(*numbers: float) -> Tensor:
    return torch.tensor(numbers, **WIDE).view(1, 1, 1, -1)


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


# Sparsemax and entmax


def theirs(alpha: Tensor | float, scores: Tensor) -> Tensor:
    """What the entmax package gives."""
    if isinstance(alpha, Tensor):
        return entmax.entmax_bisect(scores, alpha.view(1, -1, 1, 1), dim=-1)
    return {1.5: entmax.entmax15, 2.0: entmax.sparsemax}[alpha](scores, dim=-1)


@pytest.mark.parametrize("name", SPARSE)
@pytest.mark.parametrize("keys", [1, 2, 3, 7, 101])
@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_they_are_the_entmax_package(name: str, keys: int, scale: float) -> None:
    """Weights, and gradients for scores and alpha."""
    normalize = ALL[name]()
    alpha = normalize.alpha if isinstance(normalize, regard.Entmax) else SPARSE[name]
    scores = (scale * torch.randn(2, HEADS, 5, keys, **WIDE)).requires_grad_()
    leaves = [scores, alpha] if isinstance(alpha, Tensor) else [scores]
    ours, peer = normalize.weights(scores, None), theirs(alpha, scores)
    torch.testing.assert_close(ours, peer, rtol=1e-9, atol=1e-9)
    assert torch.equal(ours > 1e-9, peer > 1e-9)
    probe = torch.randn_like(ours)
    for one, other in zip(
        torch.autograd.grad((ours * probe).sum(), leaves),
        torch.autograd.grad((peer * probe).sum(), leaves),
        strict=True,
    ):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", SPARSE)
def test_masking_is_leaving_out(name: str) -> None:
    """Each masked row is the package's, of the keys that are allowed."""
    normalize, scores, allowed = ALL[name](), scores_for(name), some_allowed()
    weights = weights_of(normalize, scores, allowed)
    for place in allowed.any(-1).nonzero().tolist():
        b, h, i = place
        kept = allowed[b, h, i]
        alpha = normalize.alpha[h : h + 1] if isinstance(normalize, regard.Entmax) else SPARSE[name]
        expected = theirs(alpha, scores[b, h, i, kept].view(1, 1, 1, -1)).flatten()
        torch.testing.assert_close(weights[b, h, i, kept], expected, rtol=1e-9, atol=1e-9)


@given(alpha=st.floats(1.05, 4.0), scale=st.sampled_from((1e-6, 0.1, 1.0, 30.0)), keys=st.sampled_from((1, 2, 13, 997)))
def test_they_satisfy_their_definition(alpha: float, scale: float, keys: int) -> None:
    """`(alpha - 1) s - p^(alpha - 1)` is one threshold over the support, and no score outside exceeds it."""
    scores = scale * torch.randn(1, 1, 3, keys, **WIDE)
    normalize = [regard.Entmax(alpha)]
    normalize += [regard.Sparsemax()] if alpha > 3.0 else [regard.Entmax15()] if alpha < 1.5 else []
    for each in normalize:
        exact = {regard.Sparsemax: 2.0, regard.Entmax15: 1.5}.get(type(each), alpha)
        weights = each.weights(scores, None)
        torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 3, **WIDE), **EXACT)
        thresholds = (exact - 1) * scores - weights.pow(exact - 1)
        inside = weights > 0
        highest = thresholds.masked_fill(~inside, -torch.inf).amax(-1, keepdim=True)
        lowest = thresholds.masked_fill(~inside, torch.inf).amin(-1, keepdim=True)
        assert float((highest - lowest).max()) < 1e-9 * (1 + scale)
        outside = ((exact - 1) * scores).masked_fill(inside, -torch.inf)
        assert bool((outside <= highest + 1e-9 * (1 + scale)).all())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("alpha", [1.0001, 1.1, 3.0, 10.0, 100.0])
def test_any_alpha_gives_shares_of_one(alpha: float, dtype: torch.dtype) -> None:
    scores = torch.randn(1, 1, 101, 31, dtype=dtype).requires_grad_()
    weights = regard.Entmax(alpha).weights(scores, None)
    torch.testing.assert_close(weights.sum(-1), torch.ones(1, 1, 101, dtype=dtype), rtol=1e-6, atol=1e-6)
    assert bool((weights >= 0).all())
    ordered = weights.gather(-1, scores.argsort(-1))
    assert bool((ordered.diff(dim=-1) >= 0).all())  # a higher score never has less
    assert torch.autograd.grad(weights.square().sum(), scores)[0].isfinite().all()


def test_entmax_has_sparsemax_entmax15_and_softmax_in_it() -> None:
    scores, allowed, probe = scores_for("entmax"), some_allowed(), torch.randn(SHAPE, **WIDE)
    scores.requires_grad_()
    for alpha, normalize in ((2.0, regard.Sparsemax()), (1.5, regard.Entmax15())):
        results = []
        for each in (regard.Entmax(alpha), normalize):
            weights = weights_of(each, scores, allowed)
            results.append((weights, *torch.autograd.grad((weights * probe).sum(), scores)))
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)
    softmax = weights_of(regard.Softmax(), scores, allowed)
    errors = [
        float((weights_of(regard.Entmax(1 + less), scores, allowed) - softmax).detach().abs().max())
        for less in (1e-2, 1e-3, 1e-4)
    ]
    assert errors[0] < 0.1
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.1)  # the difference goes with alpha - 1
    assert errors[1] / errors[2] == pytest.approx(10, rel=0.1)


def test_sparsemax_and_entmax_by_hand() -> None:
    """The tau of sparsemax is 0.25; two keys that differ by d have the weights `((sqrt(8 - d^2) +- d) / 4)^2`."""
    assert regard.Sparsemax().weights(row(1.0, 0.5, -1.0), None).flatten().tolist() == [0.75, 0.25, 0.0]
    assert regard.Sparsemax().weights(row(3.0, 1.0), None).flatten().tolist() == [1.0, 0.0]
    roots = [(math.sqrt(8 - 1) + sign) / 4 for sign in (1, -1)]
    found = regard.Entmax15().weights(row(1.0, 0.0), None).flatten().tolist()
    assert found == pytest.approx([root**2 for root in roots], rel=1e-14)
    assert regard.Entmax15().weights(row(2.0, 0.0), None).flatten().tolist() == [1.0, 0.0]


def test_equal_scores_are_equal_weights() -> None:
    for normalize in (regard.Sparsemax(), regard.Entmax15(), regard.Entmax(3.0)):
        for keys in (1, 3, 1009):
            weights = normalize.weights(torch.full((1, 1, 1, keys), -7.0, **WIDE), None)
            torch.testing.assert_close(weights, torch.full_like(weights, 1 / keys), rtol=1e-12, atol=1e-14)


# Top-k


def test_top_k_by_hand() -> None:
    scores, third = row(1.0, 2.0, 2.0, 2.0, 0.0), math.exp(1) / (1 + 3 * math.exp(1))
    for k, expected in {
        1: [0.0, 1.0, 0.0, 0.0, 0.0],
        2: [0.0, 0.5, 0.5, 0.0, 0.0],
        4: [1 - 3 * third, third, third, third, 0.0],
    }.items():
        assert regard.TopKSoftmax(k).weights(scores, None).flatten().tolist() == pytest.approx(expected, rel=1e-14)
    allowed = torch.tensor([True, False, True, False, True]).view(1, 1, 1, 5)
    assert regard.TopKSoftmax(1).weights(scores, allowed).flatten().tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]
    squared = regard.TopKSoftmax(2, temperature=0.5).weights(row(0.0, math.log(2.0), -1.0), None)
    assert squared.flatten().tolist() == pytest.approx([0.2, 0.8, 0.0], rel=1e-14)


@given(
    scores=st.lists(st.lists(st.integers(-2, 2), min_size=7, max_size=7), min_size=1, max_size=3), k=st.integers(1, 9)
)
def test_top_k_takes_the_first_of_equal_scores(scores: list[list[int]], k: int) -> None:
    tensor = torch.tensor(scores, **WIDE).view(1, 1, -1, 7)
    allowed = torch.rand(1, 1, len(scores), 7) < 0.7
    weights = regard.TopKSoftmax(k).weights(tensor, allowed)
    for i, numbers in enumerate(scores):
        sees = [j for j in range(7) if allowed[0, 0, i, j]]
        kept = sorted(sees, key=lambda j: -numbers[j])[:k]  # Python's sort is stable
        total = sum(math.exp(numbers[j]) for j in kept)
        expected = [math.exp(numbers[j]) / total if j in kept else 0.0 for j in range(7)]
        assert weights[0, 0, i].tolist() == pytest.approx(expected, rel=1e-12)


def test_top_k_of_few_keys_is_softmax() -> None:
    scores, allowed = scores_for("top-k"), some_allowed()
    for k in (7, 8, 1000):
        torch.testing.assert_close(
            weights_of(regard.TopKSoftmax(k), scores, allowed), weights_of(regard.Softmax(), scores, allowed), **EXACT
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
