"""Recordings with what is said in them, in every form that people have them in."""

import json
from pathlib import Path

import pytest
import torch

from regard.data.recorded import read_recorded, survey_recorded
from regard.data.sounds import write_sound

RATE = 16_000


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three seconds of noise as `audio/a.wav`, and one as `audio/b.wav`."""
    (tmp_path / "audio").mkdir()
    for name, seconds in (("a", 3), ("b", 1)):
        write_sound(tmp_path / "audio" / f"{name}.wav", 0.1 * torch.randn(seconds * RATE), RATE)
    return tmp_path


def said(folder: Path, split: str = "train") -> list[tuple[str, str, float, float | None]]:
    found = read_recorded(folder, split)
    return [(one.sound.name, one.text, one.start, one.end) for one in found.utterances]


def lengths(folder: Path, split: str = "train") -> list[float]:
    found = read_recorded(folder, split)
    return survey_recorded(found, rate=RATE, shortest=0.025, longest=30.0)[1]


WHOLE = [("a.wav", "GOOD MORNING", 0.0, None), ("b.wav", "YES", 0.0, None)]


def test_csv_with_times_and_text_in_quotes(folder: Path) -> None:
    rows = 'audio,text,start,end\naudio/a.wav,"good, very\n good",0.5,1.5\nb.wav,yes,,\n'
    (folder / "train.csv").write_text(rows)
    assert said(folder) == [("a.wav", "good, very good", 0.5, 1.5), ("b.wav", "yes", 0.0, None)]
    assert lengths(folder) == [1.0, 1.0]


def test_manifests_of_nemo(folder: Path) -> None:
    rows = [
        {"audio_filepath": str(folder / "audio" / "a.wav"), "text": "GOOD MORNING", "offset": 1.0, "duration": 0.5},
        {"audio_filepath": "audio/b.wav", "text": "YES", "duration": 1.0},
    ]
    (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert said(folder) == [("a.wav", "GOOD MORNING", 1.0, 1.5), ("b.wav", "YES", 0.0, None)]


def test_common_voice(folder: Path) -> None:
    (folder / "audio").rename(folder / "clips")
    (folder / "train.tsv").write_text("client_id\tpath\tsentence\n1\ta.wav\tGOOD MORNING\n2\tb.wav\tYES\n")
    assert said(folder) == WHOLE


def test_kaldi(folder: Path) -> None:
    kaldi = folder / "data" / "train"
    kaldi.mkdir(parents=True)
    (kaldi / "wav.scp").write_text("one audio/a.wav\ntwo audio/b.wav\n")
    (kaldi / "text").write_text("one GOOD MORNING\ntwo YES\n")
    assert said(folder) == WHOLE
    (kaldi / "text").write_text("one-1 GOOD\none-2 MORNING\n")
    (kaldi / "segments").write_text("one-1 one 0.0 1.5\none-2 one 1.5 3.0\n")
    assert said(folder) == [("a.wav", "GOOD", 0.0, 1.5), ("a.wav", "MORNING", 1.5, 3.0)]
    (kaldi / "segments").write_text("one-1 one 0.0\none-2 one 1.5 3.0\n")
    with pytest.raises(ValueError, match="one-1 must be followed by a recording and two times in seconds: one"):
        said(folder)
    (kaldi / "segments").write_text("one-1 one 0.0 1.5\n")
    with pytest.raises(ValueError, match="segments lacks one-2"):
        said(folder)


def test_a_command_is_not_run(folder: Path) -> None:
    (folder / "train").mkdir()
    (folder / "train" / "wav.scp").write_text(f"one touch {folder}/made |\n")
    (folder / "train" / "text").write_text("one YES\n")
    with pytest.raises(ValueError, match="has a command for one, which is not run"):
        read_recorded(folder, "train")
    assert not (folder / "made").exists()


def test_librispeech(folder: Path) -> None:
    chapter = folder / "train" / "7" / "3"
    chapter.mkdir(parents=True)
    for name, new in (("a", "7-3-0000"), ("b", "7-3-0001")):
        (folder / "audio" / f"{name}.wav").rename(chapter / f"{new}.wav")
    (chapter / "7-3.trans.txt").write_text("7-3-0000 GOOD MORNING\n7-3-0001 YES\n")
    assert [row[1] for row in said(folder)] == ["GOOD MORNING", "YES"]
    assert lengths(folder) == [3.0, 1.0]
    (chapter / "7-3.trans.txt").write_text("7-3-0009 NO\n")
    with pytest.raises(ValueError, match=r"line 1: there is no sound 7-3-0009 beside it"):
        said(folder)


def test_sphinx(folder: Path) -> None:
    (folder / "etc").mkdir()
    (folder / "audio").rename(folder / "wav")
    (folder / "etc" / "x_train.fileids").write_text("a\nb\n")
    (folder / "etc" / "x_train.transcription").write_text("<s> GOOD MORNING </s> (a)\nYES </s> (b)\n")
    assert said(folder) == WHOLE
    (folder / "etc" / "x_test.transcription").write_text("NO (b)\n")
    with pytest.raises(ValueError, match="has another text for b than"):
        said(folder)


def test_recordings_without_words_are_left_out_and_counted(folder: Path) -> None:
    (folder / "train.csv").write_text("audio,text\naudio/a.wav,\naudio/b.wav,YES\n")
    found = read_recorded(folder, "train")
    assert len(found) == 1
    assert found.odd == (f"1 recordings have no words, and are left out: {folder / 'audio' / 'a.wav'}",)
    (folder / "train.csv").write_text("audio,text\naudio/a.wav,\n")
    with pytest.raises(ValueError, match="has no words: there is nothing to learn"):
        read_recorded(folder, "train")


def test_what_was_looked_for(folder: Path) -> None:
    (folder / "train.csv").write_text("audio,text\naudio/b.wav,YES\n")
    with pytest.raises(
        ValueError, match=r"has no 'val': looked for val\.csv, .*\(LibriSpeech\).* The folder holds audio"
    ):
        read_recorded(folder, "val")


def test_times_that_are_none(folder: Path) -> None:
    (folder / "train.csv").write_text("audio,text,start\naudio/b.wav,YES,soon\n")
    with pytest.raises(ValueError, match=r"train\.csv, line 2: 'start' is a number of seconds, not 'soon'"):
        read_recorded(folder, "train")


def test_a_survey_names_what_is_broken_and_what_is_odd(folder: Path) -> None:
    write_sound(folder / "audio" / "still.wav", torch.zeros(RATE), RATE)
    write_sound(folder / "audio" / "loud.wav", torch.ones(RATE), RATE)
    write_sound(folder / "audio" / "short.wav", torch.randn(200).clamp(-1, 1), RATE)
    (folder / "audio" / "text.wav").write_text("no sound")
    names = ["a", "b", "still", "loud", "short", "text"]
    (folder / "train.csv").write_text("audio,text\n" + "".join(f"audio/{name}.wav,YES\n" for name in names))
    found = read_recorded(folder, "train")
    limits = {"rate": RATE, "shortest": 0.025, "longest": 2.0}
    with pytest.raises(ValueError, match=r"a\.wav has 3\.0 seconds, longer than longest=2.* without such recordings"):
        survey_recorded(found, **limits)
    kept, seconds, problems = survey_recorded(found, **limits, skip=True)
    assert [one.sound.stem for one in kept.utterances] == ["b", "still", "loud"]
    assert seconds == [1.0, 1.0, 1.0]
    assert len(problems) == 3
    assert problems[1].endswith("short.wav has 0.013 seconds, shorter than one frame (0.025)")
    assert "text.wav is no sound" in problems[2]
    assert kept.odd[0].startswith("1 recordings are silent")
    assert kept.odd[1].startswith("1 recordings are clipped")
