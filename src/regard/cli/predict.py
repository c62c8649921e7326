"""`regard predict MODEL INPUT...`: run a trained model."""

import argparse
import json
import sys
from pathlib import Path

from regard.cli.opening import add_model, open_predictor
from regard.cli.searching import add_search_flags, search_options
from regard.data.lines import lines, read_lines


def run(arguments: list[str]) -> int:
    """Predict for arguments, the lines of files, or those of standard input."""
    parser = argparse.ArgumentParser(
        prog="regard predict",
        description="Run a trained model on arguments, on the lines of files (--file), or on those of standard input.",
    )
    add_model(parser)
    parser.add_argument("input", nargs="*", help="inputs; none: the lines of --file or of standard input")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a text file, a line an input")
    parser.add_argument("--whole", action="store_true", help="all of a file is one input, such as a document")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: input, outputs and their scores")
    add_search_flags(parser)
    options = parser.parse_args(arguments)
    texts = [*options.input, *(text for path in options.file for text in _texts(path, whole=options.whole))]
    if not options.input and not options.file:
        if sys.stdin.isatty():
            print("reading standard input, a line an input; end with Ctrl-D", file=sys.stderr)
        texts = read_lines("-")
    predictor, _ = open_predictor(options)
    for text, outputs in zip(texts, predictor.predict(texts, **search_options(options, predictor.recipe)), strict=True):
        if options.json:
            found = [output.record() for output in outputs]
            print(json.dumps({"input": text, "outputs": found}, ensure_ascii=False))
        elif len(outputs) == 1:
            print(outputs[0])
        else:
            print("\n".join(output.ranked for output in outputs))
    return 0


def _texts(path: Path, *, whole: bool) -> list[str]:
    """The inputs in a file: its lines, or all of it."""
    return ["\n".join(lines(path))] if whole else read_lines(path)
