"""`resume.ckpt`: all that a run needs to go on as if it had never stopped."""

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from regard.training.files import atomic_write

FORMAT = 1


def save_checkpoint(path: Path, state: Mapping[str, Any]) -> None:
    """Writes `state` (tensors and plain values) to `path`, whole or not at all."""
    with atomic_write(path) as file:
        torch.save({"version": FORMAT, **state}, file)


def load_checkpoint(path: Path, *, needed: Sequence[str] = ()) -> dict[str, Any]:
    """Reads what `save_checkpoint` wrote; nothing in the file is executed.

    Args:
        path: The file.
        needed: Keys that its state must have.

    Raises:
        ValueError: there is none, it is broken, of another format, lacks a key, or holds more than tensors and values.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: the run was stopped before its first checkpoint; start it anew")
    try:
        with warnings.catch_warnings():
            # torch remarks on pickles of another protocol before it refuses them.
            warnings.filterwarnings("ignore", message="Detected pickle protocol")
            state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors and plain values, so it was not written by regard, and was not "
            "executed: use only resume.ckpt files of your own runs"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"  # an EOFError says nothing
        raise ValueError(f"{path} is broken ({reason}): start the run anew") from error
    found = state.get("version") if isinstance(state, dict) else None
    if found != FORMAT:
        raise ValueError(f"{path} is a checkpoint of format {found}; this regard reads {FORMAT}: start the run anew")
    if missing := [name for name in needed if name not in state]:
        raise ValueError(f"{path} lacks {', '.join(missing)}, so no training wrote it: start the run anew")
    return state
