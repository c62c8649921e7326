"""Terms and scores by position: each its formula, at any offset, in documents, and with positions of one's own."""

import math
import re
from collections.abc import Callable

import pytest
import torch
from tests.laws.mechanism import BATCH, DIM, HEADS, KEYS, KV_HEADS, OFFSET, QUERIES, VALUE_DIM, WIDE, inputs
from torch import Tensor

import regard
from regard.attention.place import Place

EXACT = {"rtol": 1e-12, "atol": 1e-12}
SINGLE = {"rtol": 1e-6, "atol": 1e-6}  # nothing that is learned makes Alibi's float32 wider
PLACE = Place(batch=BATCH, heads=HEADS, queries=QUERIES, keys=KEYS, offset=OFFSET)


def refuses(error: type[Exception], text: str) -> pytest.RaisesExc:
    return pytest.raises(error, match=re.escape(text))


def biased(buckets: object = None, heads: int = HEADS, **options: object) -> regard.RelativeBias:
    term = regard.RelativeBias(heads, buckets, **options, **WIDE)
    torch.nn.init.normal_(term.weight)
    return term


# What each is made of; all of them know positions.
POSITIONAL: dict[str, Callable[[], regard.Score]] = {
    "alibi": lambda: regard.ScaledDot() + regard.Alibi(HEADS),
    "t5": lambda: regard.ScaledDot() + biased(regard.T5Buckets(8, 16)),
    "clipped": lambda: regard.ScaledDot() + biased(regard.Clipped(3)),
    "relative keys": lambda: regard.RelativeKeys(DIM, 3, heads=HEADS, **WIDE),
    "transformer-xl": lambda: regard.RelativeKeys(DIM, 3, heads=HEADS, shared=False, biases=True, **WIDE),
}


# Alibi


@pytest.mark.parametrize(
    ("heads", "exponents"),
    [
        (1, [8]),
        (2, [4, 8]),
        (8, [1, 2, 3, 4, 5, 6, 7, 8]),
        (6, [2, 4, 6, 8, 1, 3]),  # those of 4 heads, and every other one of those of 8
        (12, [1, 2, 3, 4, 5, 6, 7, 8, 0.5, 1.5, 2.5, 3.5]),
    ],
)
def test_slopes_are_the_paper_s(heads: int, exponents: list[float]) -> None:
    expected = torch.tensor([2.0**-exponent for exponent in exponents])
    torch.testing.assert_close(regard.Alibi(heads).slopes, expected, rtol=1e-7, atol=0)


def test_alibi_is_the_slope_times_the_distance() -> None:
    found = regard.Alibi(HEADS).matrix(PLACE).expand(BATCH, HEADS, QUERIES, KEYS)
    for h in range(HEADS):
        for i in range(QUERIES):
            expected = [-(2.0 ** (-8 * (h + 1) / HEADS)) * abs(j - i - OFFSET) for j in range(KEYS)]
            assert found[1, h, i].tolist() == expected


# Buckets


def t5_bucket(displacement: int, count: int, longest: int, both: bool) -> int:
    """The published rule in whole numbers: in which power of the ratio a distance lies, compared without roots."""
    first = 0
    if both:
        count //= 2
        first = count if displacement > 0 else 0
        distance = abs(displacement)
    else:
        distance = max(-displacement, 0)
    near = count // 2
    if distance < near:
        return first + distance
    far = count - near
    step = max(s for s in range(far + 1) if distance**far * near**s >= near**far * longest**s)
    return first + min(near + step, count - 1)


@pytest.mark.parametrize(
    ("count", "longest", "both"), [(32, 128, True), (32, 128, False), (8, 16, True), (8, 20, False), (11, 37, True)]
)
def test_buckets_are_those_of_t5(count: int, longest: int, both: bool) -> None:
    displacements = range(-3 * longest, 3 * longest + 1)
    found = regard.T5Buckets(count, longest, both).of(torch.tensor(displacements))
    assert found.tolist() == [t5_bucket(displacement, count, longest, both) for displacement in displacements]


def test_buckets_of_t5_by_hand() -> None:
    """The edges for 32 buckets and 128: `8 * 2^(step / 2)`, which is 8, 11.3, 16, 22.6, 32, 45.3, 64 and 90.5."""
    edges = [0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]
    buckets = regard.T5Buckets()
    assert buckets.of(-torch.tensor(edges)).tolist() == list(range(16))
    assert buckets.of(1 - torch.tensor(edges[1:])).tolist() == list(range(15))
    assert buckets.of(torch.tensor([1, 7, 8, 90, 91, 128, 10**6])).tolist() == [17, 23, 24, 30, 31, 31, 31]


def test_clipped_has_a_bucket_for_each_near_displacement() -> None:
    buckets = regard.Clipped(2)
    assert buckets.count == 5
    assert buckets.of(torch.tensor([-9, -3, -2, -1, 0, 1, 2, 3, 9])).tolist() == [0, 0, 0, 1, 2, 3, 4, 4, 4]
    assert regard.Clipped(0).of(torch.tensor([-5, 0, 5])).tolist() == [0, 0, 0]


def test_each_displacement_in_a_picture_has_its_own_bucket() -> None:
    height, width = 3, 5
    grid = regard.Grid(height, width)
    positions = grid.positions
    found = grid.of(positions - positions.unsqueeze(1)).tolist()
    buckets: dict[tuple[int, int], int] = {}
    for i in range(height * width):
        for j in range(height * width):
            displacement = (j // width - i // width, j % width - i % width)
            assert buckets.setdefault(displacement, found[i][j]) == found[i][j]
    assert sorted(buckets.values()) == list(range(grid.count))
    assert grid.count == (2 * height - 1) * (2 * width - 1)


# RelativeBias


@pytest.mark.parametrize("buckets", [None, regard.T5Buckets(8, 16, False), regard.Clipped(3)], ids=repr)
def test_relative_bias_is_a_scalar_for_each_head_and_bucket(buckets: object) -> None:
    term = biased(buckets)
    found = term.matrix(PLACE).expand(BATCH, HEADS, QUERIES, KEYS)
    for i in range(QUERIES):
        for j in range(KEYS):
            bucket = int(term.buckets.of(torch.tensor(j - i - OFFSET)))
            assert torch.equal(found[0, :, i, j], term.weight[:, bucket])


def test_relative_bias_starts_at_zero() -> None:
    tensors = inputs()
    score = regard.ScaledDot() + regard.RelativeBias(HEADS)
    torch.testing.assert_close(
        regard.attend(*tensors, score=score, offset=OFFSET), regard.attend(*tensors, offset=OFFSET), **EXACT
    )


def test_a_picture_s_bias_is_the_same_wherever_the_pair_is() -> None:
    """Cells are numbered row by row; the positions are the picture's own."""
    tensors, term = inputs(queries=15, keys=15), biased(regard.Grid(3, 5))
    context, seen = regard.observe(*tensors, score=regard.Dot() + term, record=[regard.Weights()])
    table = term.weight.view(HEADS, 5, 9)  # by displacement, from (-2, -4) to (2, 4)
    query, key, _ = tensors
    scores = query @ key.repeat_interleave(HEADS // KV_HEADS, 1).mT
    added = torch.stack(
        [table[:, j // 5 - i // 5 + 2, j % 5 - i % 5 + 4] for i in range(15) for j in range(15)], -1
    ).view(HEADS, 15, 15)
    torch.testing.assert_close(seen.weights, (scores + added).softmax(-1), **EXACT)
    assert context.shape == (BATCH, HEADS, 15, VALUE_DIM)


def test_what_a_picture_needs_is_all_of_its_cells() -> None:
    text = "RelativeBias(4, Grid(height=3, width=5)) has query_positions (15,), but the call has 11 of them in 2 rows"
    with refuses(ValueError, text):
        regard.attend(*inputs(), score=regard.Dot() + biased(regard.Grid(3, 5)), offset=OFFSET)


# RelativeKeys


@pytest.mark.parametrize("name", ["relative keys", "transformer-xl"])
def test_relative_keys_are_their_formula(name: str) -> None:
    """`((q + u) . k + (q + v) . r[clip(u_j - u_i)]) / sqrt(width)`, in loops."""
    query, key, value = inputs()
    score = POSITIONAL[name]()
    if name == "transformer-xl":
        torch.nn.init.normal_(score.content_bias)
        torch.nn.init.normal_(score.position_bias)
    _, seen = regard.observe(query, key, value, score=score, offset=OFFSET, record=[regard.Weights()])
    scores = torch.empty(BATCH, HEADS, QUERIES, KEYS, **WIDE)
    for h in range(HEADS):
        table = score.table[h if name == "transformer-xl" else 0]
        first = second = torch.zeros(DIM, **WIDE)
        if name == "transformer-xl":
            first, second = score.content_bias[h], score.position_bias[h]
        for i in range(QUERIES):
            for j in range(KEYS):
                r = table[min(max(j - i - OFFSET, -3), 3) + 3]
                q, k = query[:, h, i], key[:, h // (HEADS // KV_HEADS), j]
                scores[:, h, i, j] = (((q + first) * k).sum(-1) + (q + second) @ r) / math.sqrt(DIM)
    torch.testing.assert_close(seen.weights, scores.softmax(-1), **EXACT)


def test_relative_keys_without_a_table_are_scaled_dot_products() -> None:
    tensors, score = inputs(), regard.RelativeKeys(DIM, 3, heads=HEADS, biases=True, **WIDE)
    torch.nn.init.zeros_(score.table)
    torch.testing.assert_close(
        regard.attend(*tensors, score=score, offset=OFFSET), regard.attend(*tensors, offset=OFFSET), **EXACT
    )


# Positions


@pytest.mark.parametrize("name", POSITIONAL)
def test_offset_moves_the_queries(name: str) -> None:
    """The last queries of a sequence, at their offset, are what they are in the whole; also one offset a row."""
    score, (query, key, value) = POSITIONAL[name](), inputs(queries=KEYS)
    whole = regard.attend(query, key, value, score=score, mask=regard.Causal())
    for offset in (OFFSET, torch.full((BATCH,), OFFSET)):
        last = regard.attend(query[:, :, OFFSET:], key, value, score=score, mask=regard.Causal(), offset=offset)
        torch.testing.assert_close(last, whole[:, :, OFFSET:], **SINGLE)
    rows = regard.attend(query[:, :, 3:8], key, value, score=score, mask=regard.Causal(), offset=torch.tensor([3, 9]))
    torch.testing.assert_close(rows[0], whole[0, :, 3:8], **SINGLE)


@pytest.mark.parametrize("mask", [None, regard.Causal()], ids=repr)
@pytest.mark.parametrize("name", POSITIONAL)
def test_documents_restart_positions(name: str, mask: regard.Mask | None) -> None:
    """Each document of a packed row is what it is alone."""
    lengths, score, (query, key, value) = [2, 5, 4], POSITIONAL[name](), inputs(keys=QUERIES)
    documents = regard.Documents(lengths)
    packed = regard.attend(query, key, value, score=score, mask=documents if mask is None else documents & mask)
    alone = [
        regard.attend(*parts, score=score, mask=mask)
        for parts in zip(*(tensor.split(lengths, 2) for tensor in (query, key, value)), strict=True)
    ]
    torch.testing.assert_close(packed, torch.cat(alone, 2), **EXACT)


@pytest.mark.parametrize("make", [lambda **at: regard.Alibi(HEADS, **at), lambda **at: biased(regard.Clipped(3), **at)])
def test_positions_can_be_given(make: Callable[..., regard.Term]) -> None:
    """Those of the sequence are the default; others put each query and key where they say, a row at a time too."""

    def matrix(place: Place, **positions: Tensor) -> Tensor:
        torch.manual_seed(1)  # the same weights
        term = make(**positions)
        (regard.Dot() + term).check((BATCH, HEADS, place.queries, DIM), (BATCH, 2, place.keys, DIM), False, place)
        return term.matrix(place).expand(BATCH, HEADS, place.queries, place.keys)

    stand, keys = torch.arange(QUERIES) + OFFSET, torch.arange(KEYS)
    default = matrix(PLACE)
    assert torch.equal(matrix(PLACE, query_positions=stand, key_positions=keys), default)
    assert torch.equal(matrix(PLACE, query_positions=stand + 100, key_positions=keys + 100), default)
    rows = matrix(PLACE, query_positions=torch.stack((stand, stand.flip(0))), key_positions=keys[None])
    assert torch.equal(rows[0], default[0])
    assert torch.equal(rows[1], default[0].flip(1))
    square = Place(batch=BATCH, heads=HEADS, queries=KEYS, keys=KEYS)
    assert torch.equal(matrix(square, query_positions=keys), matrix(square))
    assert torch.equal(matrix(square, query_positions=keys.flip(0)), matrix(square).flip(-2, -1))


@pytest.mark.parametrize("backend", ["reference", "streamed", "sdpa"])
def test_cross_attention_with_positions(backend: str) -> None:
    tensors = inputs()
    positions = {"query_positions": torch.randint(0, 50, (BATCH, QUERIES)), "key_positions": torch.arange(KEYS) * 3}
    context = regard.attend(*tensors, score=regard.Dot() + regard.Alibi(HEADS, **positions), backend=backend)
    distance = (positions["key_positions"] - positions["query_positions"].unsqueeze(-1)).abs()
    bias = -regard.Alibi(HEADS).slopes.view(-1, 1, 1) * distance.unsqueeze(1)
    expected = regard.attend(*tensors, score=regard.Dot() + regard.Bias(bias), backend="reference")
    torch.testing.assert_close(context, expected, **EXACT)


@pytest.mark.parametrize("name", POSITIONAL)
@pytest.mark.parametrize(("queries", "offset"), [(11, 0), (11, 7), (18, 0)], ids=str)
def test_positions_of_two_sequences_have_to_be_given(name: str, queries: int, offset: int) -> None:
    """In cross-attention; and where a cache of earlier keys is forgotten."""
    score = POSITIONAL[name]()
    relative = "relative" in name or "xl" in name
    what = score if relative else score.term
    remedy = "a score without relative positions" if relative else "query_positions=..., key_positions=..."
    text = (
        f"{what!r} reads positions of one sequence, but {queries} queries at offset {offset} and 17 keys are none: in "
        f"cross-attention give {remedy}"
    )
    if queries < 17:
        text += f"; with a cache of earlier keys give offset={17 - queries}"
    with refuses(ValueError, text):
        regard.attend(*inputs(queries=queries), score=score, offset=offset)


@pytest.mark.usefixtures("unchecked")
def test_positions_are_whole_numbers_of_the_call() -> None:
    text = "takes integer positions of shape (length,) or (batch, length), got torch.float32 of shape (11,)"
    cube = torch.zeros(2, 1, 11, dtype=torch.int64)
    for name, make in (("Alibi", regard.Alibi), ("RelativeBias", regard.RelativeBias)):
        with refuses(TypeError, f"{name} {text}"):
            make(HEADS, query_positions=torch.arange(11.0))
        with refuses(TypeError, "got torch.int64 of shape (2, 1, 11)"):
            make(HEADS, query_positions=cube)
        with refuses(TypeError, "got torch.bool of shape (11,)"):
            make(HEADS, query_positions=torch.ones(11, dtype=torch.bool))
        with refuses(ValueError, f"{name} has key_positions and no query_positions: give both, or query_positions for"):
            make(HEADS, key_positions=torch.arange(17))
        for query, key, given in (
            (torch.arange(7), torch.arange(17), "has query_positions (7,), but the call has 11 of them in 2 rows"),
            (torch.arange(11), None, "has key_positions (11,), but the call has 17 of them in 2 rows"),
            (torch.zeros(3, 11).long(), torch.arange(17), "has query_positions (3, 11), but the call has 11 of them"),
        ):
            with refuses(ValueError, given):
                regard.attend(*inputs(), score=regard.Dot() + make(HEADS, query_positions=query, key_positions=key))


# Heads and sizes that do not fit


@pytest.mark.parametrize(
    ("score", "text"),
    [
        (regard.Dot() + regard.Alibi(8), "Alibi(heads=8) was built for 8 heads, but the call has 4"),
        (
            regard.Dot() + regard.RelativeBias(3, regard.Clipped(2)),
            "RelativeBias(3, Clipped(longest=2)) was built for 3 heads, but the call has 4",
        ),
        (
            regard.RelativeKeys(7, 2, heads=3),
            "RelativeKeys was built for (heads, query width, key width) = (3, 7, 7), but the call has (4, 6, 6); build "
            "it as regard.RelativeKeys(6, 2, heads=4)",
        ),
        (
            regard.Dot() + regard.Near(torch.zeros(2, 4, 17), 2.0),
            "Near(center=(2, 4, 17), sigma=2.0) needs a center for each query: (batch, heads, queries) = (2, 4, 11)",
        ),
    ],
    ids=lambda value: type(value).__name__,
)
def test_they_fit_the_call(score: regard.Score, text: str) -> None:
    with refuses(ValueError, text):
        regard.attend(*inputs(), score=score, offset=OFFSET)
    with refuses(ValueError, text):
        regard.attend(*inputs(), score=regard.SoftCap(score, 3.0), offset=OFFSET)


def test_they_are_made_of_something() -> None:
    with refuses(ValueError, "Alibi needs heads >= 1, got 0"):
        regard.Alibi(0)
    with refuses(ValueError, "Near needs sigma > 0, got -1.0"):
        regard.Near(torch.zeros(2, 4, 11), -1.0)
    with refuses(ValueError, "Clipped needs longest >= 0, got -1"):
        regard.Clipped(-1)
    with refuses(ValueError, "Grid needs a height and a width >= 1, got 0 and 5"):
        regard.Grid(0, 5)
    with refuses(ValueError, "T5Buckets needs a count >= 4, or 2 where it is not bidirectional, got 3"):
        regard.T5Buckets(3)
    with refuses(ValueError, "T5Buckets(8, ...) tells distances below 2 apart, so max_distance must be > 2, got 2"):
        regard.T5Buckets(8, 2)
    with refuses(ValueError, "RelativeKeys needs longest >= 0, got -2"):
        regard.RelativeKeys(DIM, -2)
