"""First and second derivatives of every score, term and normaliser, against finite differences in float64.

In random directions (`fast_mode`), for everything at once: inputs, and what is learned. The second batch row sees
nothing.
"""

import pytest
import torch
from tests.laws.mechanism import BATCH, DIM, HEADS, KEYS, NORMALIZERS, OFFSET, QUERIES, SCORES, WIDE, inputs, learned
from torch import Tensor

import regard

pytestmark = pytest.mark.usefixtures("unchecked")  # finite differences call the same thing many times

MASK = regard.Causal() & regard.Lengths([9, 0])
STRAIGHT_THROUGH = ("hard", "gumbel")  # whose gradient is that of another function: see test_normalizers.py


def check(leaves: list[Tensor], **options: object) -> None:
    """Derivatives of the context for `leaves`, of which query, key and value are the first three."""
    tensors = leaves[:3]

    def attend(*_: Tensor) -> Tensor:  # the leaves are perturbed where they are
        return regard.attend(*tensors, backend="reference", **options)

    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(attend, leaves, fast_mode=True)


@pytest.mark.parametrize("name", SCORES)
def test_of_scores_and_terms(name: str) -> None:
    score = SCORES[name]()
    check([*inputs(), *learned(score)], score=score, mask=MASK, offset=OFFSET)


@pytest.mark.parametrize("name", [name for name in NORMALIZERS if name not in STRAIGHT_THROUGH])
def test_of_normalizers(name: str) -> None:
    normalize = NORMALIZERS[name]()
    check([*inputs(), *learned(normalize)], normalize=normalize, mask=MASK, offset=OFFSET)


@pytest.mark.parametrize("alpha", [1.01, 1.5, 2.0, 3.0])
def test_of_one_alpha_for_all_heads(alpha: float) -> None:
    normalize = regard.Entmax(torch.nn.Parameter(torch.tensor([alpha], **WIDE)))
    check([*inputs(), *learned(normalize)], normalize=normalize, mask=MASK, offset=OFFSET)


def test_of_division_by_the_sum() -> None:
    check(inputs(), score=regard.Kernel(), normalize=regard.Sum(), mask=MASK, offset=OFFSET)


def test_of_a_learned_feature_map() -> None:
    features = torch.nn.Sequential(torch.nn.Linear(DIM, 5), torch.nn.Softplus()).double()
    score = regard.Kernel(features)
    check([*inputs(), *learned(score)], score=score, normalize=regard.Sum(), mask=MASK, offset=OFFSET)


def test_of_where_a_query_expects_to_look() -> None:
    center = (KEYS * torch.rand(BATCH, HEADS, QUERIES, **WIDE)).requires_grad_()
    check([*inputs(), center], score=regard.ScaledDot() + regard.Near(center, 2.0), mask=MASK, offset=OFFSET)


def test_of_a_picture_s_displacements() -> None:
    term = regard.RelativeBias(HEADS, regard.Grid(3, 5), **WIDE)
    torch.nn.init.normal_(term.weight)
    leaves = [*inputs(queries=15, keys=15), term.weight]
    check(leaves, score=regard.ScaledDot() + term, mask=regard.Lengths([9, 0]))


def test_of_where_the_decoder_looked_before() -> None:
    query, _, _ = inputs()
    key, value = (torch.randn(BATCH, HEADS, KEYS, DIM, **WIDE).requires_grad_() for _ in range(2))
    previous = torch.rand(BATCH, HEADS, KEYS, **WIDE).requires_grad_()
    score = regard.LocationAware(DIM, 5, heads=HEADS, filters=3, kernel=7, **WIDE)

    def attend(*_: Tensor) -> Tensor:
        keys = score.after(score.prepare(key), previous)
        return regard.attend(query, keys, value, score=score, mask=regard.Lengths([9, 0]), backend="reference")

    leaves = [query, key, value, previous, *learned(score)]
    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(attend, leaves, fast_mode=True)


def test_of_where_the_decoder_expects_to_look() -> None:
    state, key, value = inputs()
    local = regard.LocalPosition(DIM, 4).double()

    def attend(*_: Tensor) -> Tensor:
        term = local(state, torch.tensor([9, 0]))
        return regard.attend(state, key, value, score=regard.ScaledDot() + term, mask=MASK, backend="reference")

    leaves = [state, key, value, *learned(local)]
    assert torch.autograd.gradcheck(attend, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(attend, leaves, fast_mode=True)


@pytest.mark.parametrize("item", [regard.Total(), regard.Mass([0, -1, 5]), regard.Rows([-1, 3, 3])], ids=repr)
def test_of_observations(item: regard.Observation) -> None:
    query, key, value = inputs()

    def observe(*_: Tensor) -> Tensor:
        options = {"normalize": regard.Sigmoid(), "mask": MASK, "offset": OFFSET, "backend": "reference"}
        return regard.observe(query, key, value, record={"it": item}, **options)[1]["it"]

    assert torch.autograd.gradcheck(observe, [query, key], fast_mode=True)
    assert torch.autograd.gradgradcheck(observe, [query, key], fast_mode=True)
