"""The picture of an alignment, as PNG."""

import math
import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.explain.alignment import Alignment, entropy
from regard.explain.pieces import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 130
MAP = {"cmap": "Blues", "aspect": "auto", "interpolation": "nearest"}
NOTE = {"fontsize": 9, "color": "#535c69"}
TICKS = (0, 0.01, 0.1, 0.25, 0.5, 1)
BARS, GAP = 1.0, 0.15  # inches: the entropy bars' width, the space between small maps
LETTER = 0.092  # inches that a letter of a label takes, generously
LONGEST = 18  # letters of a label; the rest becomes an ellipsis
# Tried after DejaVu Sans, which comes with matplotlib, for the scripts that it lacks, where installed.
FONTS = (
    "Noto Sans",
    "Noto Sans CJK JP",
    "Noto Sans CJK SC",
    "Noto Sans Arabic",
    "Noto Sans Hebrew",
    "Noto Sans Thai",
    "Noto Sans Devanagari",
    "Arial Unicode MS",
    "Hiragino Sans",
    "Yu Gothic",
)


def draw(alignment: Alignment, path: str | os.PathLike[str]) -> None:
    """Write the alignment as a PNG: the mean map with each output token's entropy, and the maps of all heads.

    Characters of scripts for which the machine has no font are drawn as boxes.

    Args:
        alignment: what to draw.
        path: where to, a name that ends in `.png`.

    Raises:
        ValueError: the path ends in something else.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"draw writes PNG, but the path is {path}: give {path.with_suffix('.png')}")
    import matplotlib
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in FONTS if name in installed)]
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()  # a user's own settings may ask for TeX, which tokens would break
        matplotlib.rcParams.update({"font.family": fonts, "font.size": 9})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        _figure(alignment).savefig(path, format="png", dpi=DPI)


def _figure(alignment: Alignment) -> "Figure":
    """All sizes are inches, counted from the figure's top left corner."""
    from matplotlib.figure import Figure  # not pyplot: a figure of its own, which no window system ever sees

    source = [_label(piece.label) for piece in alignment.source_pieces]
    output = [_label(piece.label) for piece in alignment.output_pieces]
    cell = 0.28 if len(source) <= 14 else 0.22 if len(source) <= 32 else 0.165
    wide, high = cell * len(source), cell * len(output)
    left, top = GAP + LETTER * max(map(len, output)), 0.75 + LETTER * max(map(len, source))
    maps_left, maps_top = GAP + LETTER * max(map(len, alignment.layer_names)), top + high + 0.85
    side = (left + wide + BARS + 0.5 - maps_left) / alignment.heads - GAP  # a small map's longer side
    longer = max(len(source), len(output)) / min(max(side, 0.9), 2.2)
    small_wide, small_high = max(len(source) / longer, 0.9), max(len(output) / longer, 0.5)
    large_wide, maps_wide = left + wide + BARS + 1.2, maps_left + alignment.heads * (small_wide + GAP)
    width = max(large_wide, maps_wide, 2 * GAP + 0.125 * len(_title(alignment)))
    height = maps_top + alignment.layers * (small_high + 0.3)

    figure = Figure(figsize=(width, height), facecolor="white")

    def axes(x: float, y: float, w: float, h: float) -> "Axes":
        return figure.add_axes((x / width, 1 - (y + h) / height, w / width, h / height))

    def write(x: float, y: float, text: str, **style: Any) -> None:
        figure.text(x / width, 1 - y / height, text, parse_math=False, va="top", **style)

    write(GAP, GAP, _title(alignment), fontsize=12, weight="bold")
    write(GAP, GAP + 0.24, "mean of all layers and heads", **NOTE)
    large = axes(left, top, wide, high)
    image = _map(large, alignment.mean().tolist())
    _name(large, source, output, fontsize=9.0 if cell > 0.2 else 7.5)
    bars = axes(left + wide + 0.1, top, BARS, high)
    _bars(bars, alignment.mean_entropy().tolist(), limit=len(source))
    scale = axes(left + wide + BARS + 0.35, top, 0.13, min(high, 2.2))
    figure.colorbar(image, cax=scale, ticks=TICKS)
    scale.set_yticks(TICKS, [f"{tick:g}" for tick in TICKS], fontsize=7.5)
    scale.set_title("weight", fontsize=8, loc="left")

    write(GAP, maps_top - 0.55, "every layer and head, with the mean entropy in nats", **NOTE)
    spread = entropy(alignment.weights).mean(dim=-1).tolist()
    for layer, name in enumerate(alignment.layer_names):
        y = maps_top + layer * (small_high + 0.3)
        write(maps_left - 0.08, y + small_high / 2 - 0.06, name, fontsize=8, ha="right")
        for head in range(alignment.heads):
            small = axes(maps_left + head * (small_wide + GAP), y, small_wide, small_high)
            _map(small, alignment.map(layer=layer, head=head).tolist())
            small.set(xticks=[], yticks=[])
            small.set_title(f"head {head} · {spread[layer][head]:.2f}", fontsize=7.5, pad=2.5)
    return figure


def _map(axes: "Axes", weights: list[list[float]]) -> Any:
    from matplotlib.colors import PowerNorm

    axes.spines[:].set_color("#b9c1cc")
    # The square root keeps small weights apart, here as on the page.
    return axes.imshow(weights, norm=PowerNorm(0.5, 0, 1), **MAP)  # type: ignore[arg-type]


def _name(axes: "Axes", source: Sequence[str], output: Sequence[str], *, fontsize: float) -> None:
    style: dict[str, Any] = {"fontsize": fontsize, "parse_math": False}
    axes.set_xticks(range(len(source)), source, rotation=90, **style)
    axes.set_yticks(range(len(output)), output, **style)
    axes.tick_params(length=0, pad=3, top=True, labeltop=True, bottom=False, labelbottom=False)
    axes.set_xticks([place + 0.5 for place in range(len(source) - 1)], minor=True)
    axes.set_yticks([place + 0.5 for place in range(len(output) - 1)], minor=True)
    axes.grid(which="minor", color="white", linewidth=0.8)
    axes.tick_params(which="minor", length=0)


def _bars(axes: "Axes", nats: list[float], *, limit: int) -> None:
    most = max(math.log(limit), 0.1)
    axes.barh(range(len(nats)), most, color="#eef1f5", height=0.75)
    axes.barh(range(len(nats)), nats, color="#c3ccd8", height=0.75)
    for row, value in enumerate(nats):
        axes.text(0.02, row, f" {value:.2f}", va="center_baseline", fontsize=7.5)
    axes.set(xlim=(0, most), ylim=(len(nats) - 0.5, -0.5), xticks=[], yticks=[])
    axes.set_title(f"entropy, ≤ {math.log(limit):.2f} nats", fontsize=8, loc="left")
    axes.spines[:].set_visible(False)


def _title(alignment: Alignment) -> str:
    score = "" if alignment.score is None else f" · score {alignment.score:.3f}".replace("-", "−")
    return _label(visible(alignment.title or "What each output token attended to"), 60) + score


def _label(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
