from collections.abc import Callable
from typing import Any

import pytest
import torch


@pytest.fixture
def align() -> Callable[..., Any]:
    """Makes alignments of random weights: align(source, output, layers=2, heads=3)."""
    from regard.explain import Alignment  # not above: the jaxtyping hook has to come before `regard`

    def make(source: str, output: str, *, layers: int = 2, heads: int = 3, seed: int = 0, **options: Any) -> Any:
        pieces, emitted = tuple(source.split(" ")), tuple(output.split(" "))
        generator = torch.Generator().manual_seed(seed)
        scores = torch.randn(layers, heads, len(emitted), len(pieces), generator=generator)
        return Alignment(source=pieces, output=emitted, weights=(2 * scores).softmax(-1), **options)

    return make


@pytest.fixture
def dog(align: Callable[..., Any]) -> Any:
    """7 source and 5 output tokens, 2 layers of 3 heads."""
    return align("▁Ein ▁brau ner ▁Hund ▁rennt . </s>", "▁A ▁brown ▁dog ▁runs </s>", score=-0.417)
