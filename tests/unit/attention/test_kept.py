"""Calls that were kept answer as `observe` would have."""

import pytest
import torch
from torch import nn

import regard

QUERY, KEY = torch.randn(2, 4, 9, 8), torch.randn(2, 2, 11, 8)


class Model(nn.Module):
    def __init__(self, **options: object) -> None:
        super().__init__()
        self.options = options

    def forward(self, query: torch.Tensor = QUERY) -> torch.Tensor:
        return regard.attend(query, KEY, KEY, **self.options)  # type: ignore[arg-type]


def tensors(result: torch.Tensor | regard.TopKeys) -> list[torch.Tensor]:
    return [result] if isinstance(result, torch.Tensor) else [result.keys, result.weights]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"mask": regard.Causal(), "offset": 2},
        {"mask": regard.Lengths([7, 11]), "score": regard.ScaledDot() + regard.Alibi(4), "offset": 2},
        {"normalize": regard.Entmax15()},
        {"score": regard.SoftCap(regard.ScaledDot(), 2.0), "dropout": 0.3},
    ],
)
def test_asked_later_a_call_answers_the_same(options: dict[str, object]) -> None:
    model, asked = Model(**options), (regard.TopK(3), regard.Entropy(), regard.Received(), regard.Rows([-1]))
    with regard.watch(model, *asked, keep=True) as seen:
        context = model()
    (kept,) = seen.kept("")
    assert kept.context is context
    later = kept.observe(*asked)
    assert list(later) == list(seen[""])
    for name, result in seen[""].items():
        torch.testing.assert_close(
            vars(later[name]) if name == "topk" else later[name], vars(result) if name == "topk" else result
        )


def test_observations_of_ones_own_are_asked_too() -> None:
    class Strongest(regard.Observation):
        def of(self, matrices):  # type: ignore[no-untyped-def]
            return matrices.weights.amax(-1)

    model = Model()
    with regard.watch(model, keep=True) as seen:
        model()
    (kept,) = seen.kept("")
    torch.testing.assert_close(
        kept.observe(Strongest())["strongest"], kept.observe(regard.TopK(1)).topk.weights[..., 0]
    )


def test_a_kept_context_is_in_the_graph() -> None:
    model, query = Model(), QUERY.clone().requires_grad_()
    with regard.watch(model, keep=True) as seen:
        output = model(query) * 3
    (gradient,) = torch.autograd.grad(output.sum(), seen.kept("")[0].context)
    torch.testing.assert_close(gradient, torch.full_like(gradient, 3.0))


def test_calls_are_kept_where_asked_and_forgotten_by_clear() -> None:
    model = nn.ModuleList([Model(), Model()])
    model.forward = lambda: [one() for one in model]  # type: ignore[method-assign]
    with regard.watch(model, regard.Entropy(), keep=True, layers="1") as seen:
        model[0]()
        model[1]()
        model[1]()
    assert len(seen.kept("1")) == 2
    with pytest.raises(KeyError, match="no attention ran under '0'; there is: 1"):
        seen.kept("0")
    seen.clear()
    assert len(seen) == 0
    with pytest.raises(KeyError, match="there is: nothing"):
        seen.kept("1")


def test_what_was_not_kept_says_so() -> None:
    model = Model()
    with regard.watch(model, regard.Entropy()) as seen:
        model()
    with pytest.raises(ValueError, match="the calls were not kept; watch with keep=True"):
        seen.kept("")
    with regard.watch(model, keep=True) as seen:
        model()
    with pytest.raises(ValueError, match=r"needs something to record: kept\.observe\(regard\.TopK\(8\)\)"):
        seen.kept("")[0].observe()
    with pytest.raises(ValueError, match="asks for query 50, but the call has 9 queries"):
        seen.kept("")[0].observe(regard.Rows([50]))
