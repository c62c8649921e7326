"""`regard resume RUN`: go on with a run that was stopped."""

import argparse
import sys

from regard.tasks.registry import open_run


def run(arguments: list[str]) -> int:
    """Resume from the last checkpoint; the run directory knows everything else."""
    parser = argparse.ArgumentParser(
        prog="regard resume", description="Go on with a run that was stopped, from its last checkpoint."
    )
    parser.add_argument("run", help="the run directory")
    application, directory = open_run(parser.parse_args(arguments).run)
    if directory.exported:
        raise ValueError(f"{directory.path} was exported from a run, and does not train: resume that")
    application.resume(directory)
    print(f"the run is in {directory.path}; next: regard evaluate {directory.path}", file=sys.stderr)
    return 0
