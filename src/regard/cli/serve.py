"""`regard serve MODEL...`: trained models over HTTP, and a web page to use them on."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from regard.cli.opening import add_computing
from regard.tasks.computing import computing, place
from regard.tasks.opening import open_model
from regard.tasks.pretrained import HUB
from regard.tasks.registry import TASKS


def run(arguments: list[str]) -> int:
    """Serve until the process is told to end; what was accepted by then is answered."""
    from regard.serve.settings import Settings

    default = Settings()
    parser = argparse.ArgumentParser(
        prog="regard serve",
        description="Serve trained models over HTTP, with a web page to use them on. Only this machine reaches it, "
        "unless --host says otherwise.",
    )
    parser.add_argument(
        "models",
        nargs="+",
        metavar="MODEL",
        help="a run directory or hf:ID_OR_FOLDER, under its own name or as NAME=MODEL",
    )
    parser.add_argument("--task", help=f"hf: what the model does: {', '.join(TASKS)}")
    parser.add_argument("--host", default=default.host, help=f"address to listen on (default: {default.host})")
    parser.add_argument("--port", type=int, default=default.port, help=f"0: any (default: {default.port})")
    parser.add_argument(
        "--token-file", type=Path, help="a file with the token that requests must bring (or REGARD_TOKEN)"
    )
    parser.add_argument(
        "--origin",
        action="append",
        default=[],
        help="a site whose pages may call the service, such as https://example.org",
    )
    parser.add_argument("--name", action="append", default=[], help="a name by which it is called, beside its address")
    for name, kind, text in (
        ("queue", int, "inputs that may wait; more are refused with 503"),
        ("batch", int, "inputs that are run together"),
        ("timeout", float, "seconds from a request to its answer"),
        ("upload", int, "bytes of a request"),
        ("pixels", int, "of a picture"),
        ("seconds", float, "of a sound"),
    ):
        value = getattr(default, name)
        parser.add_argument(f"--{name}", type=kind, default=value, help=f"{text} (default: {value:,})")
    add_computing(parser)
    parser.add_argument("--threads", type=int, help="that compute (default: as torch chooses)")
    options = parser.parse_args(arguments)
    limits = {name: getattr(options, name) for name in ("queue", "batch", "timeout", "upload", "pixels", "seconds")}
    settings = Settings(
        host=options.host,
        port=options.port,
        token=_token(options.token_file),
        origins=tuple(origin.rstrip("/") for origin in options.origin),
        names=tuple(options.name),
        **limits,
    )
    if options.threads is not None:
        import torch

        torch.set_num_threads(options.threads)
    models = [_open(given, options) for given in options.models]
    from regard.serve.server import serve

    return serve(models, settings)


def _open(given: str, options: argparse.Namespace) -> Any:
    """The model under its name."""
    from regard.serve.model import Model

    name, _, path = given.rpartition("=")
    if not path.startswith(HUB) and not Path(path).exists() and Path(given).exists():
        name, path = "", given  # a folder with = in its name
    application, predictor, directory = open_model(path, options.task if path.startswith(HUB) else None)
    place(predictor, options.device)
    computing(predictor, options.precision)  # or say at once that it cannot
    name = name or (Path(path.removeprefix(HUB)).name if path.startswith(HUB) else directory.resolve().name)
    print(f"{name}: {application}, from {path}", file=sys.stderr)
    return Model(name=name, task=application, predictor=predictor, precision=options.precision)


def _token(path: Path | None) -> str | None:
    """The token that was given, which stands in no command line: other users of a machine read those."""
    if path is not None:
        return path.read_text(encoding="utf-8").strip()
    return os.environ.get("REGARD_TOKEN") or None
