"""Writing a file whole or not at all, and saying clearly when the disk is full."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

# No space, no quota, and a file larger than the system allows: all of them mean that there is no room.
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A file to write to that takes the place of `path` when the block ends well.

    Until then, and if the block raises or the process is killed, `path` is what it was: the bytes go to a
    hidden file in the same folder, which is flushed to the disk before it is renamed.

    Raises:
        OSError: the disk is full; what stood at `path` is untouched.
    """
    # One fixed name: what a killed process leaves behind is overwritten by the next write, not collected.
    partial = path.with_name(f".{path.name}.partial")
    with clear_disk_errors(path):
        try:
            with open(partial, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
    _sync_folder(path.parent)


@contextmanager
def clear_disk_errors(path: Path) -> Iterator[None]:
    """Turns what any writer raises on a full disk into one clear `OSError` about `path`."""
    try:
        yield
    except Exception as error:
        if (cause := _full_disk(error)) is None:
            raise
        run = path.parent.parent if path.parent.name == "epochs" else path.parent
        kept = f"the former {path.name} is untouched" if path.exists() else "nothing was overwritten"
        raise OSError(
            cause.errno,
            f"there is no room on the disk for {path.name} ({cause.strerror}): {kept}; free some space, then "
            f"continue with: regard resume {run}",
        ) from error


def _full_disk(error: BaseException | None) -> OSError | None:
    """The full disk that `error` comes from: writers wrap the system's error in their own."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return error
        error = error.__cause__ or error.__context__
    return None


def _sync_folder(folder: Path) -> None:
    """Makes the renaming itself last through a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
