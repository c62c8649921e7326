"""`regard evaluate MODEL`: the metrics of the model's field on a data set."""

import argparse
import json
from pathlib import Path

from regard.cli.searching import add_search_flags, search_options
from regard.tasks.registry import open_run


def run(arguments: list[str]) -> int:
    """Translate the test set and print every metric with its signature."""
    parser = argparse.ArgumentParser(
        prog="regard evaluate", description="Measure a trained model by the metrics of its field."
    )
    parser.add_argument("model", help="a run directory")
    parser.add_argument("--data", help="the folder with the files (default: where the model was trained from)")
    parser.add_argument("--split", help="which files in it (default: the recipe's test files)")
    parser.add_argument("--output", type=Path, help="write the model's outputs here, a line each")
    parser.add_argument("--json", action="store_true", help="print the metrics as JSON")
    add_search_flags(parser)
    options = parser.parse_args(arguments)
    application, directory = open_run(options.model)
    predictor = application.load(directory)
    search = search_options(options, predictor.recipe.decoding)
    scores, outputs = predictor.evaluate(data=options.data, split=options.split, options=search)
    if options.json:
        print(
            json.dumps(
                {score.name: {"value": score.value, "signature": score.signature} for score in scores},
                indent=2,
            )
        )
    else:
        print("\n".join(map(str, scores)))
    if options.output is not None:
        options.output.write_text("".join(f"{text}\n" for text in outputs), encoding="utf-8")
    return 0
