"""`regard look MODEL INPUT -o attention.html`: what the model attended to, as a page and a picture."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.explain import Look, draw, page
from regard.tasks.pretrained import HUB
from regard.tasks.registry import look_with, open_run


def run(arguments: list[str]) -> int:
    """Write one self-contained HTML page for all inputs, and a PNG for each."""
    parser = argparse.ArgumentParser(
        prog="regard look",
        description="Write what the model attended to: one page without network, and a PNG of each input.",
    )
    parser.add_argument("model", help="a run directory, or hf:ID_OR_PATH for a model of transformers")
    parser.add_argument("input", nargs="*", help="texts, or for a model of pictures or of sound their files")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a text file: all of it is one input")
    parser.add_argument("--layers", action="append", help="hf: a pattern of modules to look at (default: all)")
    parser.add_argument("--new-tokens", type=int, help="hf: how many tokens the model writes at most")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("attention.html"), help="the page (default: attention.html)"
    )
    options = parser.parse_args(arguments)
    if options.output.suffix == ".png":
        page_path = options.output.with_suffix(".html")
        raise ValueError(f"-o names the page, and the picture is put beside it: give -o {page_path}")
    if not options.input and not options.file:
        parser.error("there is nothing to look at: give an input, or --file FILE")
    inputs = [*options.input, *(path.read_text(encoding="utf-8") for path in options.file)]
    looker, title = _looker(options)
    for path in write_look([look_with(looker, given) for given in inputs], options.output, title=title):
        print(f"wrote {path}", file=sys.stderr)
    return 0


def _looker(options: argparse.Namespace) -> tuple[Any, str]:
    """What looks, and a name for it."""
    if options.model.startswith(HUB):
        from regard.hub.looker import Looker

        name = options.model.removeprefix(HUB)
        return Looker.load(name, new_tokens=options.new_tokens, layers=options.layers), Path(name).name
    for flag, given in (("--layers", options.layers), ("--new-tokens", options.new_tokens)):
        if given is not None:
            raise ValueError(f"{flag} is for models of transformers, hf:ID_OR_PATH; {options.model} is a run directory")
    application, directory = open_run(options.model)
    return application.load(directory), directory.path.name


def write_look(looks: Sequence[Look], output: Path, *, title: str) -> list[Path]:
    """Write the page and the pictures; their paths."""
    output.write_text(page(looks, title=title), encoding="utf-8")
    paths = [output]
    for number, look in enumerate(looks, 1):
        name = f"{output.stem}.png" if len(looks) == 1 else f"{output.stem}-{number}.png"
        draw(look, output.with_name(name))
        paths.append(output.with_name(name))
    return paths
