"""Pictures of files, as RGB: whatever way they were saved, turned as their camera was held, and never trusted."""

import warnings
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy
import torch
from jaxtyping import UInt8
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from regard.data.files import hint, names

ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
MOST_PIXELS = 100_000_000  # of a picture that is read: 300 MB as RGB


def read_picture(path: str | Path) -> Image.Image:
    """The picture of a file as RGB, turned the way its camera was held.

    Grey becomes RGB, and 16 bits become 8; CMYK is converted; what is transparent shows white. Of an animation it is
    the first frame.

    Raises:
        ValueError: there is no such file, Pillow does not read it, it is cut off, or larger than `MOST_PIXELS`.
    """
    picture = opened(path)
    if picture.mode == "F":
        raise ValueError(f"{path} holds fractions, whose black and white are not known: save it with 8 or 16 bits")
    return _rgb(ImageOps.exif_transpose(picture))


def opened(path: str | Path) -> Image.Image:
    """The image of a file, its pixels loaded and as they were saved.

    Raises:
        ValueError: as `read_picture` does.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}{hint(path.name, names(path.parent))}")
    try:
        with open(path, "rb") as file, warnings.catch_warnings():
            # Pillow warns of what is larger than its own limit, which is below this one's error.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(file)
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise Image.DecompressionBombError(f"{width} x {height}")
            picture.load()
    except UnidentifiedImageError:
        raise ValueError(f"{path} is no picture: give a PNG, JPEG or another format that Pillow reads") from None
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{path} has more than {MOST_PIXELS:,} pixels ({error}): scale it down, or cut it into parts"
        ) from None
    except Exception as error:  # whatever the reader of a format makes of broken bytes
        raise ValueError(f"{path} is cut off or damaged ({error}): copy it anew") from None
    return picture


def to_tensor(picture: Image.Image) -> UInt8[Tensor, "3 height width"]:
    """An RGB image as a tensor."""
    return torch.from_numpy(numpy.array(picture)).permute(2, 0, 1).contiguous()


def to_png(pixels: UInt8[Tensor, "3 height width"] | UInt8[Tensor, "height width"]) -> bytes:
    """A picture, or a mask of numbers, as the bytes of a PNG."""
    file = BytesIO()
    pixels = pixels.permute(1, 2, 0) if pixels.ndim == 3 else pixels
    Image.fromarray(pixels.contiguous().cpu().numpy()).save(file, format="PNG")
    return file.getvalue()


def _rgb(picture: Any) -> Image.Image:
    if picture.mode.startswith("I"):  # 16 bits, of which `convert` would cut off all above 255
        values = numpy.asarray(picture).clip(0, 65535).astype(numpy.float32) / 257.0
        picture = Image.fromarray(values.round().astype(numpy.uint8))
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")
    return picture.convert("RGB")
