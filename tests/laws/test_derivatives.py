"""First and second derivatives of the reference, against finite differences."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import regard
from regard.attention.scores import Score
from regard.attention.terms import Bias

OPTIONS = {"heads": 2, "dtype": torch.float64}
MASK = regard.Dense(torch.tensor([[True, True, False], [False, False, False]]))  # the second query sees nothing


pytestmark = pytest.mark.usefixtures("unchecked")  # finite differences call the same thing thousands of times


def inputs(width: int = 2, kv_heads: int = 1) -> list[Tensor]:
    query = torch.randn(1, 2, 2, width, dtype=torch.float64, requires_grad=True)
    key = torch.randn(1, kv_heads, 3, width, dtype=torch.float64, requires_grad=True)
    return [query, key, torch.randn(1, kv_heads, 3, 1, dtype=torch.float64, requires_grad=True)]


def check(function: Callable[..., Tensor], arguments: list[Tensor]) -> None:
    assert torch.autograd.gradcheck(function, arguments)
    assert torch.autograd.gradgradcheck(function, arguments, fast_mode=True)  # in random directions


CALLS: dict[str, dict] = {
    "plain": {},
    "causal": {"mask": regard.Causal()},
    "empty row": {"mask": MASK},
    "temperature": {"normalize": regard.Softmax(0.7)},
    "soft cap": {"score": regard.SoftCap(regard.Dot(), 1.5)},
}


@pytest.mark.parametrize("name", CALLS)
def test_of_the_context(name: str) -> None:
    check(lambda *tensors: regard.attend(*tensors, backend="reference", **CALLS[name]), inputs())


@pytest.mark.parametrize("kind", ["general", "additive"])
def test_of_what_is_learned(kind: str) -> None:
    if kind == "general":
        score: Score = regard.General(2, **OPTIONS)
    else:
        score = regard.Additive(2, 2, kv_heads=1, **OPTIONS)
    names, parameters = zip(*score.named_parameters(), strict=True)
    query, key, value = inputs()

    def attend(*values: Tensor) -> Tensor:
        return torch.func.functional_call(
            Attention(score),
            {f"score.{name}": tensor for name, tensor in zip(names, values, strict=True)},
            (query, key, value),
        )

    check(attend, [parameter.detach().requires_grad_() for parameter in parameters])


class Attention(torch.nn.Module):
    def __init__(self, score: Score) -> None:
        super().__init__()
        self.score = score

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return regard.attend(query, key, value, score=self.score, mask=MASK, backend="reference")


def test_of_a_bias() -> None:
    query, key, value = inputs()
    bias = torch.randn(2, 1, 3, dtype=torch.float64, requires_grad=True)
    check(
        lambda tensor: regard.attend(
            query, key, value, score=regard.Dot() + Bias(tensor), mask=MASK, backend="reference"
        ),
        [bias],
    )


def test_of_dropped_weights() -> None:
    def attend(*tensors: Tensor) -> Tensor:
        torch.manual_seed(1)
        return regard.attend(*tensors, dropout=0.4)

    check(attend, inputs())


@pytest.mark.parametrize("item", [regard.Weights(), regard.Entropy(), regard.Received(), regard.LogSumExp()], ids=repr)
def test_of_observations(item: regard.Observation) -> None:
    query, key, value = inputs()

    def observe(query: Tensor, key: Tensor) -> Tensor:
        _, seen = regard.observe(query, key, value, mask=MASK, record={"it": item})
        return seen["it"].masked_fill(seen["it"] == -torch.inf, 0.0)

    check(observe, [query, key])


def test_torchs_fused_call_says_what_has_second_derivatives() -> None:
    tensors = [torch.randn(1, 2, 5, 8, requires_grad=True) for _ in range(3)]
    context = regard.attend(*tensors, backend="sdpa")
    first = torch.autograd.grad(context.square().sum(), tensors, create_graph=True)
    plain = torch.autograd.grad(regard.attend(*tensors, backend="sdpa").square().sum(), tensors)
    assert all(torch.equal(*pair) for pair in zip(first, plain, strict=True))
    for gradient in first:
        with pytest.raises(RuntimeError, match=r'"sdpa" has no second derivatives; .* backend="reference"'):
            torch.autograd.grad(gradient.sum(), tensors, retain_graph=True)
