"""`regard demo TASK`: train, evaluate and look at a small model, on data that it makes itself."""

import argparse
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from regard.cli.look import write_look
from regard.cli.train import free_path
from regard.tasks.registry import TASKS, task


def run(arguments: list[str]) -> int:
    """The whole road, from data to a page."""
    parser = argparse.ArgumentParser(
        prog="regard demo",
        description="Make data, train a small model on them in a few minutes, evaluate it on what it has never "
        "seen, and write what it attended to.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="\n".join(["tasks:", *(f"  {name:<12} {_demo(name).DESCRIPTION}" for name in TASKS)]),
    )
    parser.add_argument("task", nargs="?", default="translation", help="default: translation")
    parser.add_argument("--run", type=Path, help="where to put the run (default: runs/demo, or the next that is free)")
    parser.add_argument("--examples", type=int, help="training examples (default: as many as two minutes take)")
    parser.add_argument("--epochs", type=int, help="passes over them (default: likewise)")
    options = parser.parse_args(arguments)
    application, demo = task(options.task), _demo(options.task)
    path = options.run or free_path(Path("runs") / "demo")
    if path.exists():
        raise ValueError(f"{path} exists: choose another, for example --run {path}-2")
    folder = path.with_name(f"{path.name}-data")
    began = time.perf_counter()
    examples = demo.EXAMPLES if options.examples is None else options.examples
    shown = demo.write_data(folder, examples=examples)
    print(f"made {examples} examples in {folder}, such as:", file=sys.stderr)
    for line in shown:
        print(f"  {line}", file=sys.stderr)
    epochs = demo.EPOCHS if options.epochs is None else options.epochs
    made = application.train(demo.recipe(folder, epochs=epochs), path)
    predictor = application.load(made)
    demo.report(predictor)
    pages = write_look(
        [predictor.look(given) for given in demo.looks(folder)], path / "attention.html", title=demo.TITLE
    )
    print(f"\n{time.perf_counter() - began:.0f} seconds. What it attended to: {pages[0]}")
    print(f"Try: regard predict {path} {demo.trial(folder)!r}")
    return 0


def _demo(name: str) -> Any:
    return import_module(f"{TASKS[name]}.demo")
