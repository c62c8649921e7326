"""What exports give on the test data, beside the runs that they came from: outputs, metric, time, and size.

    python benchmarks/exported_models.py RUN... [--data DIR] [--threads N]

Each run is exported to ONNX with its weights as they are and in 8 bits, and all three are evaluated on the run's test
split, one after the other: what writes texts greedily, everything else as its recipe says. An output is a line of
`regard evaluate --output`. Seconds are those of the whole evaluation, pictures drawn and metrics computed included.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from timing import machine

from regard.decoding import Greedy
from regard.export.checking import check_programs
from regard.export.programs import to_programs
from regard.tasks.evaluation import Evaluation
from regard.tasks.registry import open_run


def evaluated(predictor: Any, data: str | None) -> tuple[Evaluation, float]:
    """What a model gives on the test data, and in how many seconds."""
    texts = predictor.reads != "sounds" and hasattr(predictor.recipe, "decoding")
    search = {"options": Greedy(max_length=predictor.recipe.decoding.max_length)} if texts else {}
    began = time.perf_counter()
    found = predictor.evaluate(data=data, **search)
    return found, time.perf_counter() - began


def compare(run: str, data: str | None, row: Callable[..., None]) -> None:
    """Evaluate a run and its exports."""
    application, directory = open_run(run)
    predictor, task = application.load(directory), directory.read_config()["task"]
    own, seconds = evaluated(predictor, data)
    weights = directory.weights_path.stat().st_size
    row(task, "the run", own, len(own.outputs), weights, seconds)
    with tempfile.TemporaryDirectory() as made:
        for quantization in ("float32", "int8"):
            folder = Path(made) / quantization
            parts = to_programs(predictor, directory, folder, "onnx", quantization)
            print(
                f"{run}, {quantization}: {check_programs(predictor.model, parts, folder, quantization)}",
                file=sys.stderr,
            )
            opened, exported = open_run(folder)
            found, seconds = evaluated(opened.load(exported), data)
            same = sum(one == other for one, other in zip(own.outputs, found.outputs, strict=True))
            row(
                "",
                f"ONNX, {quantization}",
                found,
                same,
                sum(one.stat().st_size for one in folder.glob("*.onnx")),
                seconds,
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN")
    parser.add_argument("--data", help="the folder of the data (default: as in the run)")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(machine())
    print("\n| task | model | metric | outputs the same | MB | seconds |\n|---|---|---|---|---|---|", flush=True)

    def row(task: str, form: str, found: Evaluation, same: int, size: int, seconds: float) -> None:
        metric = f"{found.scores[0].name} {found.scores[0].value:.2f}"
        print(
            f"| {task} | {form} | {metric} | {same} of {len(found.outputs)} | {size / 1e6:.1f} | {seconds:.1f} |",
            flush=True,
        )

    for run in options.runs:
        compare(run, options.data, row)


if __name__ == "__main__":
    main()
