from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.explain import Alignment, draw

READ = pytest.importorskip("matplotlib.image").imread


def test_a_picture_of_the_alignment(dog: Alignment, tmp_path: Path) -> None:
    path = tmp_path / "dog.png"
    draw(dog, path)
    assert path.read_bytes().startswith(b"\x89PNG")
    picture = READ(path)
    height, width, _ = picture.shape
    assert min(height, width) > 400
    assert picture[..., :3].std() > 0.05
    # The paper is white, and neither end of the picture is cut off.
    edges = [picture[0], picture[-1], picture[:, 0], picture[:, -1]]
    assert all((edge == 1).all() for edge in edges)


def test_the_same_alignment_gives_the_same_picture(dog: Alignment, tmp_path: Path) -> None:
    draw(dog, tmp_path / "one.png")
    draw(dog, str(tmp_path / "two.png"))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


@pytest.mark.parametrize("source", ["▁$x^{$ $ \\frac", "▁二〇二六年 ▁மார்ச் ▁١٤", "▁\x00\ud800 \u202e \n", "</s>"])
def test_any_tokens_can_be_drawn(align: Callable[..., Any], source: str, tmp_path: Path) -> None:
    """Mathematics is not read, and scripts without a font neither fail nor warn (an error here)."""
    draw(align(source, source, layers=1, heads=1, title=source), tmp_path / "any.png")
    assert READ(tmp_path / "any.png")[..., :3].std() > 0.02


def test_the_users_settings_stay_out_and_stay(dog: Alignment, tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    with matplotlib.rc_context({"text.usetex": True, "axes.facecolor": "black"}):
        draw(dog, tmp_path / "mine.png")
        assert matplotlib.rcParams["text.usetex"]
    draw(dog, tmp_path / "plain.png")
    assert (tmp_path / "mine.png").read_bytes() == (tmp_path / "plain.png").read_bytes()


def test_a_picture_is_a_png(dog: Alignment, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"draw writes PNG, .*dog.svg: give .*dog.png"):
        draw(dog, tmp_path / "dog.svg")
