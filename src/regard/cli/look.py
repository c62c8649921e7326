"""`regard look MODEL INPUT -o attention.html`: what the model attended to, as a page and a picture."""

import argparse
import sys
from pathlib import Path

from regard.explain import draw, page
from regard.tasks.registry import open_run


def run(arguments: list[str]) -> int:
    """Write one self-contained HTML page for all inputs, and a PNG for each."""
    parser = argparse.ArgumentParser(
        prog="regard look",
        description="Write what the model attended to: one page without network, and a PNG of each input.",
    )
    parser.add_argument("model", help="a run directory")
    parser.add_argument("input", nargs="+", help="one input or more")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("attention.html"), help="the page (default: attention.html)"
    )
    options = parser.parse_args(arguments)
    if options.output.suffix == ".png":
        page_path = options.output.with_suffix(".html")
        raise ValueError(f"-o names the page, and the picture is put beside it: give -o {page_path}")
    application, directory = open_run(options.model)
    predictor = application.load(directory)
    for path in write_look([predictor.look(text) for text in options.input], options.output, title=directory.path.name):
        print(f"wrote {path}", file=sys.stderr)
    return 0


def write_look(alignments, output: Path, *, title: str) -> list[Path]:
    """Write the page and the pictures; their paths."""
    output.write_text(page(alignments, title=title), encoding="utf-8")
    paths = [output]
    for number, alignment in enumerate(alignments, 1):
        name = f"{output.stem}.png" if len(alignments) == 1 else f"{output.stem}-{number}.png"
        draw(alignment, output.with_name(name))
        paths.append(output.with_name(name))
    return paths
