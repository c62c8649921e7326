import math

import pytest
from matplotlib.image import imread

from regard.training import RunDirectory
from regard.training.plots import draw_plots


@pytest.mark.parametrize(("steps", "epochs"), [(0, 0), (3, 1), (197, 5)])
def test_pictures_of_any_number_of_points(tmp_path, steps, epochs):
    run = RunDirectory.create(tmp_path / "run", {})
    for step in range(1, steps + 1):
        run.append_metrics({"kind": "step", "step": step, "loss": 5 / math.sqrt(step)})
    for epoch in range(1, epochs + 1):
        metrics = {"bleu": 7.0 * epoch, "loss": 3 / epoch}
        run.append_metrics({"kind": "epoch", "step": 31 * epoch, "epoch": epoch, "metrics": metrics})
    draw_plots(run, "bleu")
    for name in ("loss.png", "metric.png"):
        assert imread(run.path / name).std() > 0
        assert (run.path / name).stat().st_size < 100_000
