"""Files that people send: kept under names of our own, and looked at before anything reads them whole."""

import re
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.serve.settings import Settings


class Unfit(ValueError):
    """A file that is not what it should be, or larger than what is read."""


def keep(content: Any, given: str | None, number: int, folder: Path) -> Path:
    """Write an upload, an open file, into a folder of ours; of its name stays what is harmless, to know it again."""
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", Path((given or "").replace("\\", "/")).stem).strip("-")[:60] or "file"
    ending = re.sub(r"[^A-Za-z0-9]", "", Path(given or "").suffix)[:8]
    place = folder / str(number)  # two files of one name do not meet
    place.mkdir()
    path = place / (f"{stem}.{ending}" if ending else stem)
    with open(path, "xb") as file:
        shutil.copyfileobj(content, file)
    return path


def check(path: Path, reads: str, settings: Settings) -> None:
    """See by a file's header that it can be read, and how large it will be.

    Raises:
        Unfit: it is no picture, or no sound, or too large.
    """
    (_picture if reads == "pictures" else _sound)(path, settings)


def _picture(path: Path, settings: Settings) -> None:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # the size is checked below
            with Image.open(path) as picture:
                width, height = picture.size
    except Image.DecompressionBombError as error:  # beyond Pillow's own limit
        raise Unfit(f"{path.name} is too large, and at most {settings.pixels:,} pixels are read ({error})") from None
    except Exception:  # whatever the reader of a format makes of broken bytes
        raise Unfit(f"{path.name} is no picture: give a PNG, JPEG or another format that Pillow reads") from None
    if width * height > settings.pixels:
        raise Unfit(f"{path.name} has {width} x {height} pixels, and at most {settings.pixels:,} are read")


def _sound(path: Path, settings: Settings) -> None:
    import soundfile

    try:
        about = soundfile.info(str(path))
    except Exception:
        raise Unfit(f"{path.name} is no sound: give a WAV, FLAC, OGG or MP3 that is whole") from None
    seconds = about.frames / max(about.samplerate, 1)
    if seconds > settings.seconds:
        raise Unfit(f"{path.name} has {seconds:.0f} seconds, and at most {settings.seconds:.0f} are heard")
    if about.channels > 8 or about.samplerate > 192_000:  # no microphone's: only to make it large
        raise Unfit(f"{path.name} has {about.channels} channels at {about.samplerate} samples a second")


def mended(error: ValueError, paths: Sequence[Path]) -> str:
    """What a reader said of files, by their names: where they were kept is nobody's business."""
    text = " ".join(str(error).split())
    for path in paths:
        text = text.replace(str(path), path.name)
    return text
