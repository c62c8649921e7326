"""A look as matplotlib draws it: functions that return `Axes`, and one picture of everything, as PNG."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from regard.explain.attribution import Attribution
from regard.explain.look import Grid, Layer, Look
from regard.explain.pieces import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DPI = 130
COLOURS = "Blues"  # one hue, ever darker: the same for every kind of colour vision
INK, GREY, PICK = "#24507a", "#535c69", "#c2410c"
STRIP = 6  # pictures in a row of a strip
CELL = 1.9  # inches of such a picture
NAMED = 64  # pieces that an axis names; of more it gives their numbers
LONGEST = 18  # letters of a label; the rest becomes an ellipsis
TICKS = (0, 0.01, 0.1, 0.25, 0.5, 1)
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


def draw_map(look: Look, layer: str, head: int | None = None, *, ax: "Axes | None" = None) -> "Axes":
    """The map of a head, queries down and keys across; the mean of the layer's heads when none is given.

    Raises:
        ValueError: no such layer or head.
    """
    one = look.layer(layer)
    ax = _axes(ax)
    _draw_map(ax, one, one.map(head))
    _name(ax, look, one)
    ax.set_title(f"{visible(one.name)}, {'mean of its heads' if head is None else f'head {head}'}", parse_math=False)
    return ax


def draw_entropy(look: Look, *, ax: "Axes | None" = None) -> "Axes":
    """The mean entropy of every head's queries, in nats, by layer, with the mean of each layer."""
    ax = _axes(ax)
    for place, layer in enumerate(look.layers):
        ax.scatter([place] * layer.heads, layer.entropy.mean(-1).tolist(), s=18, color=INK, alpha=0.6, linewidths=0)
    ax.plot([float(layer.entropy.mean()) for layer in look.layers], color=PICK, marker="_", markersize=11, lw=1.2)
    names = [_label(visible(layer.name), 32) for layer in look.layers]
    ax.set_xticks(range(len(names)), names, rotation=90, fontsize=7.5, parse_math=False)
    ax.set_ylabel("entropy (nats)")
    ax.set_ylim(0, 1.08 * max(float(layer.entropy.mean(-1).max()) for layer in look.layers) or 1.0)
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def draw_received(look: Look, layer: str, head: int | None = None, *, k: int = 20, ax: "Axes | None" = None) -> "Axes":
    """The `k` keys that receive the most weight of a head, or of the mean of a layer's heads, the most at the top.

    Raises:
        ValueError: no such layer or head.
    """
    one = look.layer(layer)
    ax = _axes(ax)
    received = one.received.mean(0) if head is None else one.received[one.checked(head)]
    weights, keys = received.sort(descending=True, stable=True)
    _bars(ax, look.side(one.keys).pieces, keys[:k].tolist(), weights[:k].tolist())
    ax.set_xlabel("weight received, of all queries together")
    return ax


def draw_over(look: Look, layer: str, head: int | None = None, *, query: int = 0, ax: "Axes | None" = None) -> "Axes":
    """What a query attended to, over the picture that the keys are places of.

    Raises:
        ValueError: no such layer, head or query, or keys without a picture.
    """
    one = look.layer(layer)
    grid, queries = look.side(one.keys).grid, one.entropy.shape[-1]
    if grid is None:
        raise ValueError(f'the keys of {layer}, "{one.keys}", are no places of a picture; draw_map draws them')
    if not -queries <= query < queries:
        raise ValueError(f"there is no query {query}: there are {queries}, counted from 0")
    ax = _axes(ax)
    _lay_over(ax, grid, one.of_query(query, head))
    return ax


def draw_attribution(
    attribution: Attribution,
    pieces: Sequence[str],
    *,
    query: int = 0,
    row: int = 0,
    k: int = 20,
    ax: "Axes | None" = None,
) -> "Axes":
    """The `k` keys that one query comes from most, with what is missing of bounds as a paler bar.

    Args:
        attribution: what `rollout`, `raw` or `relevance` found.
        pieces: the keys' names.
        query: which of the attribution's rows, counted from 0.
        row: of the batch.
    """
    ax = _axes(ax)
    found = attribution.top(k, row=row)[query]
    _bars(
        ax, pieces, [key for key, _ in found], [weight for _, weight in found], float(attribution.missing[row, query])
    )
    ax.set_xlabel(attribution.method)
    return ax


def draw(look: Look, path: str | os.PathLike[str]) -> None:
    """Write all of a look as a PNG: one map large, the maps of all heads, and their entropies.

    Where words, classes or things attended to the places of a picture, it is a strip instead: the picture once for each
    of them, under its weights.

    Characters of scripts for which the machine has no font are drawn as boxes.

    Args:
        look: what to draw.
        path: where to, a name that ends in `.png`.

    Raises:
        ValueError: the path ends in something else.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(f"draw writes PNG, but the path is {path}: give {path.with_suffix('.png')}")
    with _plain():
        over = _over_a_picture(look)
        figure = _strip(look, over) if over else _figure(look)
        figure.savefig(path, format="png", dpi=DPI, bbox_inches="tight", pad_inches=0.1)


def _lay_over(ax: "Axes", grid: Grid, weights: Float[Tensor, " keys"]) -> None:
    """The picture of a grid, grey, under the weights of its cells."""
    from matplotlib.colors import to_rgb
    from PIL import Image

    with Image.open(BytesIO(grid.png)) as picture:
        pixels = picture.convert("L" if grid.rows > 1 else "RGB")
        ax.imshow(
            pixels, cmap="gray", aspect="equal" if grid.rows > 1 else "auto", extent=(0, grid.columns, grid.rows, 0)
        )
    cells = weights[grid.first : grid.first + grid.rows * grid.columns].view(grid.rows, grid.columns)
    # The opacity says how much: the square root keeps small weights apart, and the largest hides what lies under it.
    veil = torch.zeros(grid.rows, grid.columns, 4)
    veil[..., :3] = torch.tensor(to_rgb(PICK))
    veil[..., 3] = 0.85 * (cells / cells.max().clamp_min(1e-9)).sqrt()
    ax.imshow(veil.numpy(), extent=(0, grid.columns, grid.rows, 0), aspect=ax.get_aspect(), interpolation="nearest")
    ax.set(xticks=[], yticks=[])


def _over_a_picture(look: Look) -> list[Layer]:
    """The layers of the last kind whose few queries, such as words, attend to the places of a picture."""
    for main in reversed(look.layers):
        grid = look.side(main.keys).grid
        if grid is not None and grid.rows > 1 and main.queries != main.keys and main.entropy.shape[-1] <= NAMED:
            return [layer for layer in look.layers if (layer.queries, layer.keys) == (main.queries, main.keys)]
    return []


def _strip(look: Look, layers: Sequence[Layer]) -> Any:
    """The picture under the weights of each query, one after the other: the mean of all layers and heads."""
    from matplotlib.figure import Figure

    grid, pieces = look.side(layers[0].keys).grid, look.side(layers[0].queries).pieces
    assert grid is not None
    columns = min(len(pieces), STRIP)
    rows = -(-len(pieces) // columns)
    high = CELL * grid.rows / grid.columns
    figure = Figure(figsize=(CELL * columns, (high + 0.3) * rows + 0.6), facecolor="white", layout="constrained")
    figure.suptitle(_title(look), fontsize=12, weight="bold", parse_math=False)
    for query, ax in enumerate(figure.subplots(rows, columns, squeeze=False).flat):
        if query >= len(pieces):
            ax.set_visible(False)
            continue
        _lay_over(ax, grid, torch.stack([layer.of_query(query) for layer in layers]).mean(0))
        ax.set_title(_label(visible(pieces[query].label)), fontsize=9, pad=3, parse_math=False)
    return figure


def _figure(look: Look) -> Any:
    """The large map beside the entropies, over the maps of all heads, a row a layer."""
    from matplotlib.figure import Figure  # not pyplot: a figure of its own, which no window system ever sees

    main = look.layers[-1]  # of a decoder the last to attend elsewhere
    shown = [layer for layer in look.layers if (layer.queries, layer.keys) == (main.queries, main.keys)]
    mean = torch.stack([layer.map() for layer in shown]).mean(0)
    cell = 0.28 if mean.shape[1] <= 14 else 0.2 if mean.shape[1] <= NAMED else 6.0 / mean.shape[1]
    heads = max(layer.heads for layer in look.layers)
    wide, high = max(cell * mean.shape[1], 3.0), max(cell * mean.shape[0], 2.0)
    small = min(max((wide + 3.5) / heads, 0.8), 1.5)
    upper_high, lower_high = high + 1.6, len(look.layers) * (small * 0.75 + 0.3)
    size = (max(wide + 4.5, heads * small + 1.8), upper_high + lower_high)
    figure = Figure(figsize=size, facecolor="white", layout="constrained")
    figure.suptitle(_title(look), fontsize=12, weight="bold", parse_math=False)
    (upper,), (lower,) = figure.subfigures(2, 1, squeeze=False, height_ratios=[upper_high, lower_high])
    left, right = upper.subplots(1, 2, width_ratios=[wide, 2.5])
    image = _draw_map(left, main, mean)
    _name(left, look, main)
    left.set_title(f"{main.queries} to {main.keys}: the mean of all layers and heads", fontsize=9, color=GREY)
    bar = upper.colorbar(image, ax=left, ticks=TICKS if main.complete else None, fraction=0.05, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    draw_entropy(look, ax=right)
    right.set_xticks(range(len(look.layers)), [str(number) for number in range(len(look.layers))], rotation=0)
    right.set_title("entropy by layer", fontsize=9, color=GREY)
    maps = lower.subplots(len(look.layers), heads, squeeze=False)
    lower.suptitle("every layer and head, with the mean entropy in nats", fontsize=9, color=GREY)
    for number, (axes, layer) in enumerate(zip(maps, look.layers, strict=True)):
        for head, each in enumerate(axes):
            if head >= layer.heads:
                each.set_visible(False)
                continue
            _draw_map(each, layer, layer.map(head))
            each.set(xticks=[], yticks=[])
            each.set_title(f"{float(layer.entropy[head].mean()):.2f}", fontsize=7, pad=2)
        name = f"{number}  {_label(visible(layer.name), 32)}"
        axes[0].set_ylabel(name, fontsize=7, rotation=0, ha="right", va="center", parse_math=False)
    return figure


def _draw_map(ax: "Axes", layer: Layer, weights: Float[Tensor, "rows columns"]) -> Any:
    from matplotlib.colors import PowerNorm

    ax.spines[:].set_color("#b9c1cc")
    most = 1.0 if layer.complete else max(float(weights.max()), 1e-6)
    # The square root keeps small weights apart, here as on the page.
    norm = PowerNorm(0.5, 0, most)
    return ax.imshow(weights.numpy(), norm=norm, cmap=COLOURS, aspect="auto", interpolation="nearest")


def _name(ax: "Axes", look: Look, layer: Layer) -> None:
    """The pieces along the axes where there is room, otherwise where along the sequence it is."""
    rows, columns = layer.pooled.shape[1:]
    for axis, side, size in ((ax.xaxis, layer.keys, columns), (ax.yaxis, layer.queries, rows)):
        pieces = look.side(side).pieces
        if len(pieces) == size <= NAMED:
            labels, places = [_label(piece.label) for piece in pieces], list(range(size))
        else:
            places = [round(part * (size - 1) / 4) for part in range(5)]
            labels = [f"{place * len(pieces) // size:,}" for place in places]
        axis.set_ticks(places, labels, fontsize=7.5, parse_math=False)
        axis.set_label_text(side)
    ax.tick_params(length=0, pad=3)
    if len(ax.get_xticks()) > 5:
        ax.tick_params(axis="x", rotation=90)


def _bars(ax: "Axes", pieces: Sequence[Any], places: list[int], weights: list[float], missing: float = 0.0) -> None:
    names = [getattr(pieces[place], "label", pieces[place]) for place in places]
    if missing > 1e-4:
        ax.barh(range(len(places)), [weight + missing for weight in weights], color=INK, alpha=0.2)
    ax.barh(range(len(places)), weights, color=INK)
    labels = [f"{_label(visible(str(name)))}  {place}" for name, place in zip(names, places, strict=True)]
    ax.set_yticks(range(len(places)), labels, fontsize=8, parse_math=False)
    ax.invert_yaxis()
    ax.spines[["top", "right"]].set_visible(False)


def _axes(ax: "Axes | None") -> "Axes":
    """The axes given, or those of a new figure of pyplot, which a notebook shows."""
    if ax is not None:
        return ax
    from matplotlib import pyplot

    return pyplot.subplots(layout="constrained")[1]


@contextmanager
def _plain() -> Iterator[None]:
    """matplotlib's own settings, whatever the user's are: they may ask for TeX, which tokens would break."""
    import matplotlib
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    fonts = ["DejaVu Sans", *(name for name in FONTS if name in installed)]
    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.family": fonts, "font.size": 9})
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def _title(look: Look) -> str:
    score = "" if look.score is None else f" · score {look.score:.3f}".replace("-", "−")
    return _label(visible(look.title or "What each token attended to"), 60) + score


def _label(text: str, longest: int = LONGEST) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
