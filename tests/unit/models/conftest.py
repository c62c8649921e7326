"""One model of every kind, small enough for a law to be checked on all of them."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from regard.models.recurrent import RecurrentSeq2Seq
from regard.models.tokens import START
from regard.models.transformer import Layers, Transformer

SOURCE_VOCABULARY, TARGET_VOCABULARY = 17, 13


@dataclass(frozen=True, kw_only=True)
class Kind:
    """How to make a model, and under which names `regard.watch` finds its attention to the source."""

    make: Callable[[], nn.Module]
    cross: tuple[str, ...]


def transformer(*, share: bool = False, dim: int = 12, layers: int, **options) -> Kind:
    shape = Layers(dim=dim, heads=3, feed_forward=19, layers=layers, dropout=0.3, longest=23, **options)
    source = TARGET_VOCABULARY if share else SOURCE_VOCABULARY
    return Kind(
        make=lambda: Transformer(source, TARGET_VOCABULARY, encoder=shape, decoder=shape, share=share),
        cross=tuple(f"decoder.layers.{layer}.cross" for layer in range(layers)),
    )


def recurrent(attention: str, *, layers: int = 1) -> Kind:
    return Kind(
        make=lambda: RecurrentSeq2Seq(
            SOURCE_VOCABULARY, TARGET_VOCABULARY, dim=11, hidden=14, layers=layers, attention=attention
        ),
        cross=() if attention == "none" else ("",),
    )


KINDS = {
    "pre-norm, sinusoidal, one table": transformer(norm="pre", positions="sinusoidal", share=True, layers=1),
    "post-norm, learned": transformer(norm="post", positions="learned", activation="gelu", layers=1),
    "pre-norm, rotary, grouped": transformer(norm="pre", positions="rotary", kv_heads=1, layers=2),
    "recurrent": recurrent("none", layers=2),
    "bahdanau": recurrent("bahdanau"),
    "luong-general": recurrent("general"),
    "luong-dot": recurrent("dot"),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """A model in float64 with random parameters, in evaluation mode, and a batch for it."""

    model: nn.Module
    cross: tuple[str, ...]
    source: Tensor
    source_lengths: Tensor
    target: Tensor

    def logits(self, source: Tensor, source_lengths: Tensor, target: Tensor) -> Tensor:
        """By teacher forcing."""
        return self.model(source, source_lengths, target) @ self.model.output_weight.T


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def case(request) -> Case:
    kind: Kind = request.param
    model = kind.make().double().eval().requires_grad_(False)
    for name, parameter in model.named_parameters():
        # Wider than at the start, so that every token matters.
        nn.init.normal_(parameter, mean=1.0 if name.endswith("norm.weight") else 0.0, std=0.3)
    lengths = torch.tensor([7, 3, 5])
    source = torch.randint(4, TARGET_VOCABULARY, (3, 7))
    source[torch.arange(7) >= lengths[:, None]] = 0
    target = torch.randint(4, TARGET_VOCABULARY, (3, 5))
    target[:, 0] = START
    return Case(model=model, cross=kind.cross, source=source, source_lengths=lengths, target=target)
