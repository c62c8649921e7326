"""`regard export RUN --to FORM -o FOLDER`: a trained model for another engine, or for a hub."""

import argparse
import sys
from pathlib import Path

from regard.tasks.registry import open_run

FORMS = {
    "ctranslate2": "CTranslate2, float32 or --quantization int8: what writes a text for a text, and classifiers",
    "onnx": "programs for ONNX Runtime, float32 or int8: the model, or its encoder and a decoder's step with its cache",
    "torch": "the same as programs of torch.export",
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
    parser.add_argument("--quantization", choices=["float32", "int8"], default="float32", help="of the weights")
    options = parser.parse_args(arguments)
    if options.quantization != "float32" and options.to not in ("ctranslate2", "onnx"):
        raise ValueError(f"--quantization is for --to ctranslate2 and onnx, not for {options.to}: leave it out")
    application, directory = open_run(options.run)
    if directory.exported:
        raise ValueError(f"{directory.path} was exported itself: export the run that it came from")
    path = directory.path.resolve()
    folder: Path = options.output or path.with_name(f"{path.name}-{options.to}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} exists and is not empty: choose another with -o")
    if options.to == "hub":
        from regard.export.hub import to_hub

        to_hub(directory, folder)
        print(f"wrote {folder}; put it on a hub by: hf upload NAME {folder}", file=sys.stderr)
        return 0
    predictor = application.load(directory)
    if options.to == "ctranslate2":
        from regard.export import ctranslate2, ctranslate2_classifier

        form = ctranslate2_classifier if isinstance(predictor, ctranslate2_classifier.TextClassifier) else ctranslate2
        form.to_ctranslate2(predictor, folder, quantization=options.quantization)
        found = form.check(predictor, folder)
    else:
        from regard.export.checking import check_programs
        from regard.export.programs import to_programs

        parts = to_programs(predictor, directory, folder, options.to, options.quantization)
        found = check_programs(predictor.model, parts, folder, options.quantization)
    print(f"wrote {folder}; {found}", file=sys.stderr)
    return 0
