"""Pictures of a classifier's decisions: which classes it takes for which, and how far its confidence can be trusted."""

import io
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float, Int
from torch import Tensor

from regard.explain.picture import COLOURS, GREY, INK, PICK
from regard.explain.pieces import visible

_NAMED = 30  # counts are written into the cells of up to so many classes


def draw_confusion(counts: Int[Tensor, "true found"], classes: Sequence[str]) -> bytes:
    """The confusion matrix as PNG: rows are what texts are, columns what they were found to be."""
    size = max(3.2, 0.55 * len(classes) + 1.8)
    figure, axes = _figure(size, size)
    shares = counts.double() / counts.sum(-1, keepdim=True).clamp_min(1)
    axes.imshow(shares.numpy(), cmap=COLOURS, vmin=0.0, vmax=1.0)
    names = [visible(name) if len(name) <= 18 else visible(name[:17]) + "…" for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=90 if len(names) > 4 else 0, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set_xlabel("found")
    axes.set_ylabel("true")
    if len(names) <= _NAMED:
        for row, of_row in enumerate(counts.tolist()):
            for column, count in enumerate(of_row):
                ink = "white" if shares[row, column] > 0.55 else "black"
                axes.text(column, row, f"{count}", ha="center", va="center", color=ink, fontsize=9)
    return _png(figure)


def draw_calibration(bins: Float[Tensor, "bins 3"], error: float) -> bytes:
    """The reliability diagram as PNG: how often decisions of a confidence are right, over how many there are."""
    figure, axes = _figure(4.6, 4.2)
    share, confidence, right = bins.T.tolist()
    places = [(number + 0.5) / len(share) for number in range(len(share))]
    axes.bar(places, share, width=0.9 / len(share), color=GREY, alpha=0.25, label="share of the decisions")
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle="--")
    shown = [number for number, part in enumerate(share) if part > 0]
    axes.plot(
        [confidence[n] for n in shown], [right[n] for n in shown], color=INK, marker="o", markersize=4, label="right"
    )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("confidence")
    axes.set_ylabel("share")
    axes.set_title(f"expected calibration error {error:.2f}%", fontsize=9, color=PICK)
    axes.legend(frameon=False, loc="upper left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _figure(wide: float, high: float) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # not pyplot: no window system, no global state

    figure = Figure(figsize=(wide, high), dpi=110, layout="constrained")
    return figure, figure.add_subplot()


def _png(figure: Any) -> bytes:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
