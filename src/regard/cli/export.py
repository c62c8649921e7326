"""`regard export RUN --to FORM -o FOLDER`: a trained model for another engine, or for a hub."""

import argparse
import sys
from pathlib import Path
from typing import Any

from regard.cli.opening import open_model
from regard.tasks.registry import open_run

FORMS = {
    "ctranslate2": "CTranslate2, float32 or --quantization int8: models that write a text for a text",
    "hub": "a folder for a hub, with a model card filled from the run",
}


def run(arguments: list[str]) -> int:
    """Write the model in another form."""
    parser = argparse.ArgumentParser(
        prog="regard export",
        description="Write a trained model for another engine. "
        + " ".join(f"{name}: {text}." for name, text in FORMS.items()),
    )
    parser.add_argument("run", help="a run directory")
    parser.add_argument("--to", required=True, choices=list(FORMS))
    parser.add_argument("-o", "--output", type=Path, help="a new folder (default: RUN-FORM)")
    parser.add_argument("--quantization", choices=["float32", "int8"], default="float32", help="of ctranslate2")
    options = parser.parse_args(arguments)
    if options.quantization != "float32" and options.to != "ctranslate2":
        raise ValueError(f"--quantization is for --to ctranslate2, not for {options.to}: leave it out")
    _, directory = open_run(options.run)
    path = directory.path.resolve()
    folder: Path = options.output or path.with_name(f"{path.name}-{options.to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty: choose another with -o")
    said: Any = _hub(options.run, folder) if options.to == "hub" else _ctranslate2(options, folder)
    print(said, file=sys.stderr)
    return 0


def _hub(run: str, folder: Path) -> str:
    from regard.export.hub import to_hub

    _, directory = open_run(run)
    to_hub(directory, folder)
    return f"wrote {folder}; put it on a hub by: huggingface-cli upload NAME {folder}"


def _ctranslate2(options: argparse.Namespace, folder: Path) -> str:
    from regard.export.ctranslate2 import check, to_ctranslate2

    _, predictor, _ = open_model(options.run, None)
    to_ctranslate2(predictor, folder, quantization=options.quantization)
    return f"wrote {folder}; {check(predictor, folder)}"
