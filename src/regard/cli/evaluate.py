"""`regard evaluate MODEL`: the metrics of the model's field on a data set."""

import argparse
import json
import sys
from pathlib import Path

from regard.cli.opening import add_model, open_predictor
from regard.cli.searching import add_search_flags, search_options
from regard.tasks.computing import computing
from regard.training.run import RunDirectory


def run(arguments: list[str]) -> int:
    """Run the model on the test set and print every metric with its signature."""
    parser = argparse.ArgumentParser(
        prog="regard evaluate", description="Measure a trained model by the metrics of its field."
    )
    add_model(parser)
    parser.add_argument("--data", help="the folder with the files (default: where the model was trained from)")
    parser.add_argument("--split", help="which files in it (default: the recipe's test files)")
    parser.add_argument("--output", type=Path, help="write the model's outputs here, a line each")
    parser.add_argument("--pictures", type=Path, help="the folder for pictures of it, if there are (default: the run)")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    add_search_flags(parser)
    options = parser.parse_args(arguments)
    predictor, folder = open_predictor(options)
    search = search_options(options, predictor.recipe)
    with computing(predictor, options.precision):
        found = predictor.evaluate(data=options.data, split=options.split, **search)
    if (folder / "config.yaml").exists() and options.data is None:
        split = options.split or predictor.recipe.files.test
        how = {"search": repr(search["options"])} if search else {}
        scores = [{"name": one.name, "value": one.value, "signature": one.signature, **how} for one in found.scores]
        RunDirectory.open(folder).save_evaluation(split, scores)
    if options.json:
        values = {score.name: {"value": score.value, "signature": score.signature} for score in found.scores}
        print(json.dumps(values, indent=2))
    else:
        print("\n".join(map(str, found.scores)))
        if found.table:
            print(f"\n{found.table}")
    if options.output is not None:
        options.output.write_text("".join(f"{text}\n" for text in found.outputs), encoding="utf-8")
    for name, picture in found.pictures.items():
        path = (options.pictures or folder) / name
        path.write_bytes(picture)
        print(f"wrote {path}", file=sys.stderr)
    return 0
