"""What the kernels that keep rows of weights are told, and what they are not asked to do."""

import re

import pytest
import torch

import regard
from regard.attention import capabilities
from regard.attention.capabilities import Feature
from regard.ops.spec import NONE, Observation, Spec, Term, spec_of, written

pytestmark = pytest.mark.requires("native")
QUERY, KEY, VALUE = torch.randn(2, 3, 5, 8), torch.randn(2, 3, 7, 8), torch.randn(2, 3, 7, 8)


def test_a_spec_survives_as_text() -> None:
    spec = Spec(
        "softmax",
        factor=0.1,
        number=2,
        terms=(Term("relative", 0, 1, 3, low=-5), Term("near", 4, factor=0.25)),
        observations=(Observation("top_k", first=3), Observation("mass", chosen=NONE)),
    )
    assert spec_of(written(spec)) == spec


def test_the_table_has_no_other_hole_for_native() -> None:
    """Of what a call may ask of the mechanism; the rest is about devices, dtypes and tools."""
    holes = {feature for feature in Feature if feature not in capabilities.TABLE["native"]}
    assert holes == {
        Feature.PAIRS,
        Feature.ENTMAX,
        Feature.HARD,
        Feature.OTHER_TERM,
        Feature.OTHER_NORMALIZER,
        Feature.OTHER_OBSERVATION,
        Feature.LARGE_PATTERN,
        Feature.FLOAT64,
        Feature.ACCELERATOR,
        Feature.EXPORT,
        Feature.TRANSFORM,
        Feature.SECOND_DERIVATIVES,
        Feature.LINEAR_TIME,
    }


class Constant(regard.attention.terms.Term):
    def matrix(self, place: regard.attention.place.Place) -> torch.Tensor:
        return torch.ones(1, 1, 1, 1)


@pytest.mark.parametrize(
    ("options", "feature"),
    [
        ({"score": regard.ScaledDot() + Constant()}, Feature.OTHER_TERM),
        ({"normalize": regard.Entmax(1.3)}, Feature.ENTMAX),
        ({"normalize": regard.Hard()}, Feature.HARD),
        ({"record": {str(k): regard.Mass([0]) for k in range(33)}}, Feature.OTHER_OBSERVATION),
    ],
)
def test_what_native_lacks_goes_to_streamed_and_says_so(options: dict[str, object], feature: Feature) -> None:
    plan = regard.plan(QUERY, KEY, VALUE, **options)
    assert plan.others["native"] == [feature.value]
    assert plan.backend in ("streamed", "sdpa")
    with pytest.raises(ValueError, match=re.escape(f'backend "native" lacks what this call needs: {feature.value}')):
        regard.observe(QUERY, KEY, VALUE, **{"record": [regard.Total()], **options}, backend="native")


def test_many_terms_of_a_kind() -> None:
    """Six, each with its gradient; more go elsewhere."""
    biases = [
        torch.randn(shape, requires_grad=True) for shape in ((7,), (5, 1), (3, 1, 1), (3, 5, 7), (2, 1, 5, 7), ())
    ]
    score: regard.attention.scores.Score = regard.ScaledDot()
    for bias in biases:
        score = score + regard.Bias(bias)
    gradients = []
    for backend in ("native", "reference"):
        context = regard.attend(QUERY, KEY, VALUE, score=score, backend=backend)
        gradients.append(torch.autograd.grad(context.square().sum(), biases))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    plan = regard.plan(QUERY, KEY, VALUE, score=score + regard.Bias(biases[0]))
    assert plan.others["native"] == [Feature.OTHER_TERM.value]


def test_positions_that_are_too_far_say_what_to_do() -> None:
    positions = torch.tensor([0, 1, 2, 3, 2**31])
    score = regard.ScaledDot() + regard.Alibi(3, query_positions=positions, key_positions=torch.arange(7))
    text = "has positions beyond 1,073,741,824, which the kernels do not count: give positions relative to the first"
    with pytest.raises(ValueError, match=text):
        regard.attend(QUERY, KEY, VALUE, score=score, backend="native")


def test_float16_is_widened() -> None:
    query, key, value = (tensor.half() for tensor in (QUERY, KEY, VALUE))
    context = regard.attend(query, key, value, normalize=regard.Sparsemax(), backend="native")
    assert context.dtype == torch.float16
    wide = regard.attend(query.float(), key.float(), value.float(), normalize=regard.Sparsemax(), backend="native")
    assert torch.equal(context, wide.half())
