"""What a page shows, and how a head is chosen in it."""

from typing import Any

import pytest
import torch


def text(shown: Any, selector: str) -> str:
    return str(shown.locator(selector).first.inner_text())


def lit(shown: Any, side: int = 0) -> dict[int, float]:
    """How brightly each piece of a side is lit, relative to the brightest."""
    pieces = shown.locator(".side").nth(side).locator(".piece")
    strengths = pieces.evaluate_all(
        "pieces => pieces.map(each => [Number(each.dataset.index), Number(each.style.getPropertyValue('--strength'))])"
    )
    return {int(index): strength for index, strength in strengths if strength > 0}


def choose(shown: Any, name: str) -> None:
    shown.locator(f'.heads button[aria-label^="{name}:"]').click()
    shows(shown, name)


def shows(shown: Any, name: str) -> None:
    """Waits until the large map is this head's: its numbers may have to be unpacked first."""
    shown.locator(".map .which").get_by_text(name, exact=True).wait_for()


def close(found: dict[int, float], weights: torch.Tensor) -> None:
    """What is lit is the square root of weights, relative to the strongest, or to 0.1."""
    expected = (weights / weights.max().clamp_min(0.1)).sqrt()
    for index, strength in enumerate(expected.tolist()):
        assert found.get(index, 0.0) == pytest.approx(strength, abs=0.01)
