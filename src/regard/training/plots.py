"""The curves of a run, drawn from its `metrics.jsonl`."""

import io
from collections.abc import Sequence
from typing import Any

from regard.training.files import atomic_write
from regard.training.run import RunDirectory

_TRAINING, _VALIDATION, _FAINT = "#2f6db3", "#d1642c", "#a9c4e4"
_POINTS = 2000  # more would only be drawn over each other


def draw_plots(run: RunDirectory, metric: str) -> None:
    """Writes `loss.png` (training and validation loss by step) and `metric.png` (the metric by epoch)."""
    rows = run.read_metrics()
    steps = [row for row in rows if row["kind"] == "step"]
    epochs = [row for row in rows if row["kind"] == "epoch" and row["metrics"]]
    steps = steps[:: len(steps) // _POINTS + 1]

    figure, axes = _axes("step", "loss (nats)")
    x, y = [row["step"] for row in steps], [row["loss"] for row in steps]
    if len(x) >= 20:
        axes.plot(x, y, color=_FAINT, linewidth=0.8)
        y = _smooth(y)
    axes.plot(x, y, color=_TRAINING, linewidth=1.6, label="training")
    losses = [(row["step"], row["metrics"]["loss"]) for row in epochs if "loss" in row["metrics"]]
    if losses:
        axes.plot(*zip(*losses, strict=True), color=_VALIDATION, marker="o", markersize=3, label="validation")
    _limit(axes, [*y, *(loss for _, loss in losses)])
    axes.legend(frameon=False)
    _save(figure, run, "loss.png")

    figure, axes = _axes("epoch", metric)
    x, y = [row["epoch"] for row in epochs], [row["metrics"][metric] for row in epochs]
    axes.plot(x, y, color=_VALIDATION, marker="o", markersize=3)
    if y:
        best = max(range(len(y)), key=y.__getitem__)
        axes.annotate(
            f"{y[best]:.2f}",
            (x[best], y[best]),
            textcoords="offset points",
            xytext=(0, 7),
            ha="center",
            color=_VALIDATION,
        )
        axes.margins(y=0.12)
    axes.xaxis.get_major_locator().set_params(integer=True)
    _save(figure, run, "metric.png")


def _axes(x: str, y: str) -> tuple[Any, Any]:
    # Figure without pyplot: no window system, no global state, nothing left in memory.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 3.6), dpi=110, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#e6e6e6", linewidth=0.7)
    axes.set_axisbelow(True)
    return figure, axes


def _smooth(values: Sequence[float]) -> list[float]:
    """The running mean over a fiftieth of the curve."""
    width = max(2, len(values) // 50)
    means = []
    for i in range(len(values)):
        part = values[max(0, i - width + 1) : i + 1]
        means.append(sum(part) / len(part))
    return means


def _limit(axes: Any, values: Sequence[float]) -> None:
    """Leaves the first steps' great losses outside, so that the rest can be seen."""
    if len(values) < 20:
        return
    ordered = sorted(values)
    low, high = ordered[0], ordered[int(0.98 * (len(ordered) - 1))]
    axes.set_ylim(max(0.0, low - 0.08 * (high - low)), high + 0.08 * (high - low) + 1e-9)


def _save(figure: Any, run: RunDirectory, name: str) -> None:
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    with atomic_write(run.path / name) as file:
        file.write(picture.getvalue())
