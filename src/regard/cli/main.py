"""`regard VERB ...`: the verb is read first, and only its file is imported."""

import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module

VERBS = {
    "train": "train a task's model from your own files",
    "resume": "go on with a run that was stopped",
    "evaluate": "measure a trained model by its field's metrics",
    "predict": "run a trained model on arguments, a file or standard input",
    "look": "write a page of what the model attended to",
    "serve": "serve trained models over HTTP, with a web page to use them on",
    "export": "write a trained model for another engine, or for a hub",
    "demo": "train, evaluate and look at a small model, in a few minutes",
    "doctor": "say what this machine and this installation can do",
}

SERVE = ("fastapi", "multipart", "prometheus_client", "python_multipart", "uvicorn")  # of the extra "serve"
EXPORT = ("ctranslate2", "onnx", "onnxruntime", "onnxscript")  # of the extra "export"
SCALE = ("pyarrow", "ray")  # of the extra "scale"
HUB = ("transformers", "huggingface_hub", "PIL", "soundfile", "soxr")  # libraries of the extra "hub"
HELP = f"""usage: regard VERB ...

Attention, and the models people build of it.

verbs:
{os.linesep.join(f"  {verb:<10} {text}" for verb, text in VERBS.items())}

regard VERB --help tells more; regard --version tells the version.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status is 0, 1 for an error that was told, 2 for a command that does not exist."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        print(HELP, end="")
        return 0
    if words[0] == "--version":
        from regard import __version__

        print(f"regard {__version__}")
        return 0
    verb = words[0]
    if verb not in VERBS:
        close = get_close_matches(verb, VERBS, n=1)
        hint = f"did you mean: regard {close[0]}?" if close else f"the verbs are: {', '.join(VERBS)}"
        print(f"regard: there is no verb {verb!r}; {hint}", file=sys.stderr)
        return 2
    try:
        status = int(import_module(f"regard.cli.{verb}").run(words[1:]) or 0)
        sys.stdout.flush()  # a reader that is gone is noticed here, and not when Python ends
        return status
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `regard predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, TypeError, OSError, ImportError) as error:
        if os.environ.get("REGARD_TRACEBACK"):
            raise
        print(f"regard {verb}: {_told(error)}", file=sys.stderr)
        return 1


def _told(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        extras = {"hub": HUB, "serve": SERVE, "export": EXPORT, "scale": SCALE}
        extra = next((extra for extra, names in extras.items() if error.name in names), "tasks")
        return f"this needs {error.name}, which is not installed: pip install 'regard[{extra}]'"
    return " ".join(str(error).splitlines())
