"""`regard demo`: train, evaluate and look at a small model, on data that it makes itself."""

import argparse
import sys
import time
from pathlib import Path

from regard.cli.look import write_look
from regard.cli.train import free_path
from regard.tasks.dates import EXAMPLES
from regard.tasks.registry import TASKS
from regard.tasks.translation import demo, load, train


def run(arguments: list[str]) -> int:
    """The whole road, from data to a page."""
    parser = argparse.ArgumentParser(
        prog="regard demo",
        description="Learn to write dates, times and numbers of some twenty languages in their ISO form: "
        "makes the data, trains a small Transformer, evaluates it, and writes what it attended to.",
    )
    parser.add_argument("task", nargs="?", default="translation", choices=list(TASKS))
    parser.add_argument("--run", type=Path, help="where to put the run (default: runs/demo, or the next that is free)")
    parser.add_argument("--pairs", type=int, default=demo.PAIRS, help="training pairs (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=demo.EPOCHS, help="passes over them (default: %(default)s)")
    options = parser.parse_args(arguments)
    path = options.run or free_path(Path("runs") / "demo")
    if path.exists():
        raise ValueError(f"{path} exists: choose another, for example --run {path}-2")
    folder = path.with_name(f"{path.name}-data")
    began = time.perf_counter()
    demo.write_data(folder, pairs=options.pairs)
    print(f"made {options.pairs} pairs in {folder}, such as:", file=sys.stderr)
    for text, iso in list(EXAMPLES.items())[:3]:
        print(f"  {text}  ->  {iso}", file=sys.stderr)
    made = train(demo.recipe(folder, epochs=options.epochs), path)
    translator = load(made)
    scores, _ = translator.evaluate()
    exact = next(score.value for score in scores if score.name == "exact match")
    print(f"\nright to the letter on held-out dates, times and numbers: {exact:.2f}%")
    print("\nnever seen in training:")
    texts = list(EXAMPLES)
    for (text, iso), outputs in zip(EXAMPLES.items(), translator.predict(texts), strict=True):
        verdict = "right" if outputs[0].text == iso else f"wrong, it is {iso}"
        print(f"  {text:<44} {outputs[0].text:<12} {verdict}")
    pages = write_look(
        [translator.look(text) for text in texts[:4]], path / "attention.html", title="Dates of the world"
    )
    print(f"\n{time.perf_counter() - began:.0f} seconds. What it attended to: {pages[0]}")
    print(f"Try: regard predict {path} 'den 3. Mai 1999'")
    return 0
