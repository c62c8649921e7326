"""What each ingredient of a detector's training gives: short runs, each without one of them.

    python benchmarks/detection_ablation.py --data DIR --runs FOLDER

Each run is that of the recipe but for what its row says; they differ in nothing else, seed and order of pictures
included. Scores are those of the validation pictures at the end. Runs that are in the folder already are resumed, or
read if they are whole, so that the same command goes on after a stop.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from timing import machine

from regard.tasks.detection import Recipe, resume, train
from regard.training import RunDirectory
from regard.training.recipe import parse_recipe

ROWS = {
    "all": [],
    "labels count four times": ["--loss.label", "4"],
    "no mosaic": ["--augmentation.mosaic", "0"],
    "cells are responsible for nothing": ["--helps.cells", "0"],
    "no denoising": ["--helps.denoising", "0"],
    "things not repeated": ["--helps.more", "0"],
    "neither denoising nor repeats": ["--helps.denoising", "0", "--helps.more", "0"],
    "neither denoising, repeats nor cells": ["--helps.denoising", "0", "--helps.more", "0", "--helps.cells", "0"],
    "no change of size": ["--augmentation.smallest", "1", "--augmentation.largest", "1"],
    "no average of weights": ["--training.ema_decay", "0"],
}


def scores_of(folder: Path) -> dict[str, Any] | None:
    """The last line of a run's metrics, if it came to its end."""
    path = folder / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    last = json.loads(lines[-1]) if lines else {}
    return last if last.get("kind") == "final" else None


def run(folder: Path, flags: list[str], options: argparse.Namespace) -> dict[str, Any]:
    """The scores of the run with these flags, which is begun, resumed, or at its end already."""
    if found := scores_of(folder):
        return found
    if folder.exists():
        resume(RunDirectory.open(folder))
    else:
        settings = {"epochs": options.epochs, "validate_every": options.epochs, "warmup_steps": options.warmup}
        common = [word for name, value in settings.items() for word in (f"--training.{name}", str(value))]
        common += ["--data", options.data, "--training.threads", str(options.threads)]
        train(parse_recipe(Recipe, [*common, *flags], config=options.recipe), folder)
    found = scores_of(folder)
    assert found is not None
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the recipe's data")
    parser.add_argument("--runs", required=True, type=Path, help="where the runs are kept")
    parser.add_argument("--recipe", type=Path, default=Path("recipes/detection/bccd.yaml"))
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW", help="default: all")
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    print("\n| training | AP | AP50 | AP75 | minutes |\n|---|---|---|---|---|", flush=True)
    for name in options.rows:
        found = run(options.runs / name.replace(" ", "-").replace(",", ""), ROWS[name], options)
        scores = " | ".join(f"{found['metrics'][score]:.1f}" for score in ("ap", "ap50", "ap75"))
        print(f"| {name} | {scores} | {found['seconds'] / 60:.0f} |", flush=True)


if __name__ == "__main__":
    main()
