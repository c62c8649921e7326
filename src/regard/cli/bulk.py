"""`regard predict --input`: for all that many files hold, in parts, here or on Ray."""

import argparse
import hashlib
import sys
import time
from dataclasses import asdict
from typing import Any

from regard.bulk.engines import here, on_ray
from regard.bulk.parts import Parts
from regard.bulk.shards import Shard, shards
from regard.bulk.work import Work
from regard.cli.opening import open_predictor
from regard.cli.searching import search_options

LINE = 10.0  # seconds between two lines of progress


def add_bulk(parser: argparse.ArgumentParser) -> None:
    """Add what is for many inputs."""
    group = parser.add_argument_group(
        "many inputs",
        "a part of JSON lines for each shard, whole or not there: the same command goes on where it was stopped",
    )
    group.add_argument(
        "--input",
        dest="pattern",
        metavar="PATTERN",
        help="of texts: JSON lines, Parquet or text, such as 'data/*.jsonl'; of pictures and speech: their files",
    )
    group.add_argument("--column", default="text", help="of JSON lines and Parquet: the field with the text")
    group.add_argument("--shard", type=int, default=256, help="items that are done at once (default: 256)")
    group.add_argument("--engine", choices=("local", "ray"), default="local", help="this process, or actors of Ray")
    group.add_argument("--workers", type=int, default=2, help="of --engine ray: actors, each with the model")


def predict_files(options: argparse.Namespace) -> int:
    """Writes what is missing of the parts; the status says whether every input could be read."""
    if options.input or options.file or options.stream:
        raise ValueError("--input names files, and nothing else is predicted beside: leave the other inputs out")
    if options.whole:
        raise ValueError("--whole is for --file; of --input a document goes into a record: JSON lines, or Parquet")
    if options.output is None:
        raise ValueError("--input writes parts into a folder: name it by -o, for example -o predictions")
    if options.workers < 1:
        raise ValueError(f"there has to be at least 1 worker, got --workers {options.workers}")
    predictor, _ = open_predictor(options)
    search = search_options(options, predictor.recipe)
    work = Work(
        model=options.model,
        task=options.task,
        folder=str(options.output.absolute()),
        device=options.device,
        precision=options.precision,
        search=search,
    )
    pieces = shards(options.pattern, reads=predictor.reads, column=options.column, size=options.shard)
    parts = Parts(options.output)
    parts.begin(_plan(options, search, pieces))
    missing = [pieces[number] for number in parts.missing(len(pieces))]
    if len(missing) < len(pieces):
        print(f"{len(pieces) - len(missing)} of {len(pieces)} parts are there already", file=sys.stderr)
    ray = options.engine == "ray" and missing
    found = on_ray(work, missing, options.workers) if ray else here(work, predictor, missing)
    done, items, errors = len(pieces) - len(missing), 0, 0
    began = shown = time.monotonic()
    for _, count, wrong in found:
        done, items, errors = done + 1, items + count, errors + wrong
        if time.monotonic() - shown >= LINE:
            shown = time.monotonic()
            rate = items / (shown - began)
            print(f"part {done} of {len(pieces)}, {items:,} items, {rate:,.1f} a second", file=sys.stderr, flush=True)
    unread = f"; {errors:,} could not be read, and say why" if errors else ""
    print(f"{items:,} items in {len(missing)} parts of {options.output}{unread}", file=sys.stderr)
    return int(errors > 0)


def _plan(options: argparse.Namespace, search: dict[str, Any], pieces: list[Shard]) -> dict[str, Any]:
    """What the parts are of: with another plan their numbers would mean something else."""
    listing = "\n".join(repr(piece) for piece in pieces)
    return {
        "model": options.model,
        "task": options.task,
        "input": options.pattern,
        "shards": len(pieces),
        "items": sum(map(len, pieces)),
        "listing": hashlib.sha256(listing.encode()).hexdigest(),
        "search": {name: {"kind": type(value).__name__, **asdict(value)} for name, value in search.items()},
    }
