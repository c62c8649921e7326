"""Reading pictures: every way they are saved, and every way they can be broken."""

import struct
import zlib
from pathlib import Path

import numpy
import pytest
import torch
from PIL import Image

from regard.data.pictures import MOST_PIXELS, read_picture, to_png, to_tensor


def saved(path: Path, image: Image.Image, **options) -> Path:
    image.save(path, **options)
    return path


def plain(height: int = 7, width: int = 5) -> Image.Image:
    generator = torch.Generator().manual_seed(1)
    return Image.fromarray(torch.randint(0, 256, (height, width, 3), generator=generator).byte().numpy())


@pytest.mark.parametrize("ending", ["png", "bmp", "tiff", "webp"])
def test_what_was_saved_is_read(tmp_path, ending):
    path = saved(tmp_path / f"a.{ending}", plain(), **({"lossless": True} if ending == "webp" else {}))
    picture = to_tensor(read_picture(path))
    assert picture.shape == (3, 7, 5)
    assert torch.equal(picture, to_tensor(plain()))
    (tmp_path / "b.png").write_bytes(to_png(picture))
    assert torch.equal(to_tensor(read_picture(tmp_path / "b.png")), picture)


def test_grey_and_sixteen_bits_become_rgb(tmp_path):
    grey = numpy.array([[0, 128, 255]], dtype=numpy.uint8)
    for number, image in enumerate((Image.fromarray(grey), Image.fromarray(grey.astype(numpy.uint16) * 257))):
        picture = to_tensor(read_picture(saved(tmp_path / f"{number}.png", image)))
        assert picture[:, 0].tolist() == [[0, 128, 255]] * 3


def test_cmyk_becomes_rgb(tmp_path):
    image = Image.new("CMYK", (4, 3), (0, 255, 255, 0))
    picture = to_tensor(read_picture(saved(tmp_path / "a.jpg", image, quality=100))).float()
    assert picture.shape == (3, 3, 4)
    assert picture[0].min() > 220
    assert picture[1:].max() < 60


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(tmp_path, mode):
    image = Image.new("RGBA", (2, 1), (10, 10, 10, 255))
    image.putpixel((1, 0), (10, 10, 10, 0))
    if mode == "P":
        image = Image.new("P", (2, 1))
        image.putpalette([10, 10, 10, 70, 70, 70])
        image.putpixel((1, 0), 1)
        path = saved(tmp_path / "a.png", image, transparency=1)
    else:
        path = saved(tmp_path / "a.png", image.convert(mode))
    assert to_tensor(read_picture(path))[:, 0].T.tolist() == [[10] * 3, [255] * 3]


@pytest.mark.parametrize(("orientation", "quarters"), [(1, 0), (3, 2), (6, -1)])
def test_a_picture_is_turned_as_its_camera_was_held(tmp_path, orientation, quarters):
    image = plain()
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", image, exif=exif)
    assert torch.equal(to_tensor(read_picture(path)), to_tensor(image).rot90(quarters, (1, 2)))


def test_of_an_animation_the_first_frame_is_read(tmp_path):
    frames = [Image.new("RGB", (3, 2), colour) for colour in ("red", "blue")]
    path = saved(tmp_path / "a.gif", frames[0], save_all=True, append_images=frames[1:])
    assert to_tensor(read_picture(path))[:, 0, 0].tolist() == [255, 0, 0]


def bomb(path: Path, side: int) -> Path:
    """A PNG of a few kilobytes that says it is `side` pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    body = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 1000)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    return path


@pytest.mark.parametrize("side", [int(MOST_PIXELS**0.5) + 1, 60_000])
def test_a_bomb_is_not_unpacked(tmp_path, side, recwarn):
    with pytest.raises(ValueError, match=r"bomb\.png has more than 100,000,000 pixels .*: scale it down"):
        read_picture(bomb(tmp_path / "bomb.png", side))
    assert not recwarn


def test_broken_files_are_named(tmp_path):
    whole = saved(tmp_path / "a.png", plain(90, 70)).read_bytes()
    for size in (len(whole) // 2, 60):
        (tmp_path / "cut.png").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"cut\.png is cut off or damaged .*: copy it anew"):
            read_picture(tmp_path / "cut.png")
    photo = saved(tmp_path / "a.jpg", plain(90, 70)).read_bytes()
    (tmp_path / "cut.jpg").write_bytes(photo[: len(photo) // 2])
    with pytest.raises(ValueError, match=r"cut\.jpg is cut off or damaged"):
        read_picture(tmp_path / "cut.jpg")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"text\.png is no picture: give a PNG, JPEG"):
        read_picture(tmp_path / "text.png")
    (tmp_path / "empty.png").touch()
    with pytest.raises(ValueError, match=r"empty\.png is no picture"):
        read_picture(tmp_path / "empty.png")
    with pytest.raises(ValueError, match=r"there is no file .*b\.png; did you mean 'a\.png'\?"):
        read_picture(tmp_path / "b.png")
    fractions = saved(tmp_path / "f.tiff", Image.fromarray(numpy.zeros((2, 3), dtype=numpy.float32)))
    with pytest.raises(ValueError, match=r"f\.tiff holds fractions"):
        read_picture(fractions)
