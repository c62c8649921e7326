"""Sounds of files, as one channel at one rate: whatever way they were saved, and never trusted."""

from io import BytesIO
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from regard.data.files import hint, names

ENDINGS = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".aif", ".au", ".sph")
MOST_SECONDS = 4 * 3600  # of a sound that is read whole: 920 MB at 16,000 samples a second
_SHARE = 0.99  # of the samples that a file's header tells of; the headers of MP3 are estimates


def read_sound(
    path: str | Path, rate: int = 16_000, *, start: float = 0.0, end: float | None = None
) -> Float[Tensor, " samples"]:
    """The sound of a file, or of a part of it, its channels mixed down, at `rate` samples a second; loudest is 1.

    Args:
        path: a WAV, FLAC, OGG, MP3 or what else libsndfile reads.
        rate: of what comes out; another rate is resampled by soxr.
        start, end: seconds; to the end of the file, if not given.

    Raises:
        ValueError: there is no such file, it is no sound, it holds none, it is cut off, it is not all numbers, it is
            longer than `MOST_SECONDS`, or the part lies outside of it.
    """
    import soundfile
    import soxr

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}{hint(path.name, names(path.parent))}")
    try:
        with soundfile.SoundFile(str(path)) as file:
            own, told = file.samplerate, file.frames
            first, last = round(start * own), told if end is None else round(end * own)
            if not told:
                raise ValueError(f"{path} is empty: it holds no sound")
            if not 0 <= first < last or last > told + own // 10:  # what people write down is not exact
                raise ValueError(
                    f"{path} has {told / own:.2f} seconds, so that there is no part from {start:g} to "
                    f"{'its end' if end is None else f'{end:g}'}"
                )
            last = min(last, told)
            if last - first > MOST_SECONDS * own:
                raise ValueError(
                    f"{path} has {(last - first) / own / 3600:.1f} hours, and at most {MOST_SECONDS // 3600} are read "
                    "at a time: cut it into parts"
                )
            cut = "should be" in file.extra_info  # what libsndfile says of a WAV file whose data end early
            file.seek(first)
            samples = file.read(last - first, dtype="float32", always_2d=True)
    except soundfile.LibsndfileError as error:
        why = str(error).removeprefix(f"Error opening {str(path)!r}: ").rstrip(".")
        raise ValueError(f"{path} is no sound: give a WAV, FLAC, OGG or MP3 that is whole ({why})") from None
    if cut or len(samples) < _SHARE * (last - first):
        raise ValueError(f"{path} is cut off: it ends before what its header tells of; copy it anew")
    sound = torch.from_numpy(samples).mean(1)
    if not bool(sound.isfinite().all()):
        raise ValueError(f"{path} has samples that are no numbers: save it anew")
    if own == rate:
        return sound
    return torch.from_numpy(soxr.resample(sound.numpy(), own, rate))


def write_sound(path: str | Path, sound: Float[Tensor, " samples"], rate: int) -> None:
    """Write a sound within [-1, 1] as the file's ending says, in 16 bits."""
    import soundfile

    soundfile.write(str(path), sound.numpy(), rate, subtype="PCM_16")


def to_flac(sound: Float[Tensor, " samples"], rate: int) -> bytes:
    """A sound within [-1, 1] as FLAC, in 16 bits."""
    import soundfile

    file = BytesIO()
    soundfile.write(file, sound.numpy(), rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()
