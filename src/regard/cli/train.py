"""`regard train TASK`: train a model from a recipe and a folder of data."""

import argparse
import sys
from pathlib import Path

from regard.tasks.registry import TASKS, task
from regard.training.recipe import parse_recipe

USAGE = f"""usage: regard train TASK --data DIR [--config RECIPE.yaml] [--run DIR] [--option value ...]

Tasks: {", ".join(TASKS)}. All options of a task: regard train TASK --help

  --data DIR     the folder with your files
  --config FILE  a recipe: a YAML file of options, or a run whose recipe to take; flags given beside it win
  --from hf:ID   begin with a pretrained model of transformers, by its name at the hub or hf:FOLDER; of pictures
                 --backbone hf:ID, a pretrained visual encoder
  --run DIR      where to put the run (default: runs/TASK, or the first of runs/TASK-2, -3, ... that is free)
"""


def run(arguments: list[str]) -> int:
    """Train, and say what to do next."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, end="")
        return 0
    name, rest = arguments[0], arguments[1:]
    application = task(name)
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--from", "--backbone", dest="start")
    options, rest = parser.parse_known_args(rest)
    if options.start is not None:
        rest = [*rest, f"--start={options.start}"]
    if {"-h", "--help"} & set(rest):
        print(USAGE)
    recipe = parse_recipe(application.Recipe, rest, config=options.config, program=f"regard train {name}")
    path = options.run or free_path(Path("runs") / name)
    made = application.train(recipe, path)
    print(f"the run is in {made.path}; next: regard evaluate {made.path}", file=sys.stderr)
    return 0


def free_path(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    candidate, number = path, 2
    while candidate.exists():
        candidate, number = path.with_name(f"{path.name}-{number}"), number + 1
    return candidate
