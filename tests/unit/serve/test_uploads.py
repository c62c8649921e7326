"""Files that people send: their names, and what they claim to be."""

import zlib
from io import BytesIO
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
import soundfile
import torch
from PIL import Image

from regard.data.pictures import to_png
from regard.serve.settings import Settings
from regard.serve.uploads import Unfit, check, keep, mended


@hypothesis.given(
    name=st.one_of(
        st.none(),
        st.text(max_size=300),
        st.sampled_from(["../../etc/passwd", "C:\\x\\y.png", "..", ".ssh", "a\0b.wav", "/dev/null"]),
    )
)
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_a_file_is_kept_in_its_own_folder_whatever_it_is_called(
    tmp_path_factory: pytest.TempPathFactory, name: str | None
) -> None:
    folder = tmp_path_factory.mktemp("kept")
    path = keep(BytesIO(b"content"), name, 3, folder)
    assert path.parent == folder / "3"
    assert path.resolve() == path
    assert path.read_bytes() == b"content"
    assert len(path.name) < 80
    assert path.name.isascii()
    assert path.name[0] != "."


def test_of_a_name_stays_what_is_harmless(tmp_path: Path) -> None:
    assert keep(BytesIO(b""), "../My cat (2).JPEG", 0, tmp_path).name == "My-cat-2.JPEG"
    assert keep(BytesIO(b""), "../My cat (2).JPEG", 1, tmp_path).name == "My-cat-2.JPEG"


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that says it has so many pixels a side."""
    content = to_png(torch.zeros(3, 2, 2, dtype=torch.uint8))
    header = bytearray(content[12:29])
    header[4:12] = side.to_bytes(4, "big") * 2
    return content[:12] + bytes(header) + zlib.crc32(bytes(header)).to_bytes(4, "big") + content[33:]


@pytest.mark.parametrize(
    ("content", "reads", "said"),
    [
        (bomb(9_000), "pictures", r"x\.png has 9000 x 9000 pixels, and at most 25,000,000 are read"),
        (bomb(60_000), "pictures", r"x\.png is too large, and at most 25,000,000 pixels are read"),
        (b"GIF89a but no more", "pictures", r"x\.png is no picture: give a PNG"),
        (b"", "pictures", r"x\.png is no picture"),
        (b"RIFF1234WAVE", "sounds", r"x\.png is no sound: give a WAV"),
        (b"", "sounds", r"x\.png is no sound"),
    ],
    ids=["large", "bomb", "cut off", "no picture", "no samples", "no sound"],
)
def test_what_it_is_not_is_said_before_it_is_read(tmp_path: Path, content: bytes, reads: str, said: str) -> None:
    path = keep(BytesIO(content), "x.png", 0, tmp_path)
    with pytest.raises(Unfit, match=said):
        check(path, reads, Settings())


def test_a_long_sound_is_refused_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "silence.flac"
    soundfile.write(path, torch.zeros(8000 * 60).numpy(), 8000)
    assert path.stat().st_size < 20_000
    check(path, "sounds", Settings(seconds=60.0))
    with pytest.raises(Unfit, match=r"silence\.flac has 60 seconds, and at most 59 are heard"):
        check(path, "sounds", Settings(seconds=59.0))
    many = tmp_path / "many.wav"
    soundfile.write(many, torch.zeros(80, 16).numpy(), 8000)
    with pytest.raises(Unfit, match="has 16 channels"):
        check(many, "sounds", Settings())


def test_a_picture_as_it_should_be_passes(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    Image.new("RGB", (30, 20)).save(path)
    check(path, "pictures", Settings(pixels=600))
    with pytest.raises(Unfit, match="30 x 20 pixels, and at most 599"):
        check(path, "pictures", Settings(pixels=599))


def test_where_files_are_kept_is_not_said(tmp_path: Path) -> None:
    path = tmp_path / "0" / "x.wav"
    assert mended(ValueError(f"{path} is cut off:\ncopy it anew"), [path]) == "x.wav is cut off: copy it anew"
