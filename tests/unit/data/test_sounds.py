"""Sounds of files: any format, any rate, one channel; and what is wrong with a file is said of that file."""

from pathlib import Path

import numpy
import pytest
import soundfile
import torch

from regard.data.sounds import read_sound, to_flac, write_sound

RATE = 16_000
TONE = (0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(RATE) / RATE)).float()


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "tone.wav"
    write_sound(path, TONE, RATE)
    return path


@pytest.mark.parametrize(("ending", "far"), [("wav", 1e-4), ("flac", 1e-4), ("ogg", 0.05), ("mp3", 0.05)])
def test_formats(ending: str, far: float, tmp_path: Path) -> None:
    path = tmp_path / f"tone.{ending}"
    soundfile.write(path, TONE.numpy(), RATE)
    torch.testing.assert_close(read_sound(path), TONE, rtol=0.0, atol=far)


def test_channels_are_mixed_and_rates_changed(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    tone = (0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 8000)).numpy()
    soundfile.write(path, numpy.stack([tone, 0.0 * tone], 1), 8000)
    sound = read_sound(path)
    assert sound.shape == (RATE,)
    torch.testing.assert_close(sound[500:-500], 0.5 * TONE[500:-500], rtol=0.0, atol=1e-3)


def test_a_part(wav: Path) -> None:
    part = read_sound(wav, start=0.25, end=0.5)
    torch.testing.assert_close(part, TONE[4000:8000], rtol=0.0, atol=1e-4)
    assert len(read_sound(wav, start=0.25, end=1.05)) == 12000, "what is written down is not exact to the sample"


@pytest.mark.parametrize(("start", "end"), [(2.0, None), (0.5, 0.4), (0.0, 1.5), (-1.0, None)])
def test_a_part_outside(start: float, end: float | None, wav: Path) -> None:
    with pytest.raises(ValueError, match=r"tone\.wav has 1\.00 seconds, so that there is no part from"):
        read_sound(wav, start=start, end=end)


def test_a_file_that_is_not_there(wav: Path) -> None:
    with pytest.raises(ValueError, match=r"there is no file .*ton\.wav; did you mean 'tone\.wav'\?"):
        read_sound(wav.with_name("ton.wav"))


@pytest.mark.parametrize("content", [b"", b"a text", b"RIFF\x10\x00\x00\x00WAVEfmt "], ids=["empty", "text", "head"])
def test_no_sound(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "not.wav"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"not\.wav is no sound: give a WAV, FLAC, OGG or MP3 that is whole \("):
        read_sound(path)


@pytest.mark.parametrize("ending", ["wav", "flac", "mp3"])
def test_a_file_that_is_cut_off(ending: str, tmp_path: Path) -> None:
    path = tmp_path / f"tone.{ending}"
    noise = 0.1 * torch.randn(4 * RATE)
    soundfile.write(path, noise.numpy(), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=rf"tone\.{ending} is (cut off|no sound)"):
        read_sound(path)


def test_without_samples(tmp_path: Path) -> None:
    path = tmp_path / "none.wav"
    write_sound(path, TONE[:0], RATE)
    with pytest.raises(ValueError, match=r"none\.wav is empty: it holds no sound"):
        read_sound(path)


def test_samples_that_are_no_numbers(tmp_path: Path) -> None:
    path = tmp_path / "nan.wav"
    soundfile.write(path, numpy.array([0.0, numpy.nan]), RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav has samples that are no numbers"):
        read_sound(path)


def test_a_recording_of_days(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wav: Path) -> None:
    monkeypatch.setattr("regard.data.sounds.MOST_SECONDS", 0.5)
    with pytest.raises(ValueError, match="cut it into parts"):
        read_sound(wav)
    assert len(read_sound(wav, end=0.5)) == RATE // 2


def test_flac_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "tone.flac"
    path.write_bytes(to_flac(TONE, RATE))
    torch.testing.assert_close(read_sound(path), TONE, rtol=0.0, atol=1e-4)
