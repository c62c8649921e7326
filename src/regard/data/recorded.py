"""Recordings with what is said in them, found in the folders that people have."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from regard.data.files import hint, listed, names, require_folder
from regard.data.lines import lines
from regard.data.records import Record, find_records, read_records
from regard.data.sounds import read_sound
from regard.data.survey import read_all

_SILENT = 1e-3  # a loudest sample below this is no speech
_LOUD, _MUCH = 0.999, 0.01  # clipped: more than this share of the samples at the limit
_PLACES = ("", "clips", "audio", "wavs", "wav")  # folders that hold sounds
# Columns that other tools have for the same: NeMo's manifests, Common Voice, data sets of Hugging Face.
_SOUND = ("audio", "audio_filepath", "path", "file_name", "file", "wav")
_TEXT = ("text", "sentence", "transcript", "transcription")


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """What is said in a file, or in a part of it, from `start` to `end` in seconds."""

    sound: Path
    text: str
    start: float = 0.0
    end: float | None = None

    @property
    def name(self) -> str:
        """How a message names it."""
        if not self.start and self.end is None:
            return str(self.sound)
        return f"{self.sound} from {self.start:g} to {'its end' if self.end is None else f'{self.end:g} seconds'}"


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """Utterances: at least one.

    Args:
        utterances: each with words.
        where: what says so, of all of them.
        odd: what was left out of the data, or may be wrong with them, for people.
    """

    utterances: tuple[Utterance, ...]
    where: str
    odd: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.utterances)

    def sound(self, place: int, rate: int) -> Float[Tensor, " samples"]:
        """The sound of an utterance.

        Raises:
            ValueError: it cannot be read.
        """
        one = self.utterances[place]
        return read_sound(one.sound, rate, start=one.start, end=one.end)

    def texts(self) -> list[str]:
        """What is said in each."""
        return [utterance.text for utterance in self.utterances]


def survey_recorded(
    found: Recorded, *, rate: int, shortest: float, longest: float, skip: bool = False
) -> tuple[Recorded, list[float], tuple[str, ...]]:
    """Read every recording once, before anything is trained.

    Args:
        found: the recordings.
        rate: samples a second.
        shortest, longest: seconds of an utterance; others count as what cannot be read.
        skip: leave out what cannot be read, instead of raising.

    Returns:
        What can be read, with what may be wrong with it; the seconds of each; and what is wrong with each left out.

    Raises:
        ValueError: something cannot be read, and is not to be left out; or nothing can.
    """

    def look(place: int) -> tuple[float, float, float]:
        sound, name = found.sound(place, rate), found.utterances[place].name
        seconds = len(sound) / rate
        if seconds < shortest:
            raise ValueError(f"{name} has {seconds:.3f} seconds, shorter than one frame ({shortest:g})")
        if seconds > longest:
            raise ValueError(f"{name} has {seconds:.1f} seconds, longer than longest={longest:g}: cut it into parts")
        loudness = sound.abs()
        return seconds, float(loudness.max()), float((loudness >= _LOUD).float().mean())

    seen, problems = read_all(look, len(found), skip=skip, things="recordings")
    silent = [found.utterances[place].name for place, (_, top, _) in seen.items() if top < _SILENT]
    clipped = [found.utterances[place].name for place, (_, _, share) in seen.items() if share > _MUCH]
    odd = [*found.odd]
    if silent:
        odd.append(f"{len(silent)} recordings are silent: {listed(silent, 3)}")
    if clipped:
        odd.append(
            f"{len(clipped)} recordings are clipped (more than 1% of their samples are the loudest there is): "
            f"{listed(clipped, 3)}"
        )
    kept = replace(found, utterances=tuple(found.utterances[place] for place in seen), odd=tuple(odd))
    return kept, [seconds for seconds, _, _ in seen.values()], tuple(problems)


def read_recorded(folder: str | Path, split: str, *, audio: str = "audio", text: str = "text") -> Recorded:
    """Find the recordings of a split in what the folder holds.

    * records: `train.csv`, `train.tsv` or `train.jsonl` with the columns `audio` and `text`, and, if there are any,
      `start` and `end` (or NeMo's `offset` and `duration`) in seconds; columns of NeMo's manifests and of Common Voice
      are known;
    * Kaldi: `train` or `data/train` with `wav.scp`, `text`, and perhaps `segments`; commands in wav.scp are not run;
    * LibriSpeech: `train` with files `*.trans.txt` somewhere in it, the sounds beside them;
    * Sphinx: `etc/train.fileids` (or `etc/*_train.fileids`) with `etc/*.transcription`, the sounds in `wav`.

    Utterances without words are left out and counted.

    Args:
        folder: where the files are.
        split: such as "train".
        audio, text: the columns or keys of records.

    Raises:
        ValueError: none of these is there, or a file cannot be read in full.
    """
    folder = Path(folder)
    require_folder(folder)
    records = find_records(folder, split)
    if records:
        return _collected(_of_records(records[0], folder, audio, text), str(records[0]))
    kaldi = next((path for path in (folder / split, folder / "data" / split) if (path / "wav.scp").is_file()), None)
    if kaldi is not None:
        return _collected(_of_kaldi(kaldi, folder), str(kaldi))
    transcripts = sorted((folder / split).glob("**/*.trans.txt"))
    if transcripts:
        return _collected(_of_librispeech(transcripts), str(folder / split))
    listing = _listing(folder, split)
    if listing is not None:
        return _collected(_of_sphinx(listing, folder), str(listing))
    raise ValueError(
        f"{folder} has no {split!r}: looked for {split}.csv, {split}.tsv and {split}.jsonl, {split}/wav.scp (Kaldi), "
        f"{split}/**/*.trans.txt (LibriSpeech) and etc/*{split}.fileids (Sphinx). The folder holds "
        f"{listed(names(folder)) or 'nothing'}{hint(split, names(folder))}"
    )


def _collected(utterances: Iterable[Utterance], where: str) -> Recorded:
    """Those with words."""
    every = [replace(one, text=" ".join(one.text.split())) for one in utterances]
    spoken = tuple(one for one in every if one.text)
    if not spoken:
        raise ValueError(f"{where} has no words: there is nothing to learn")
    silent = [one.name for one in every if not one.text]
    odd = (f"{len(silent)} recordings have no words, and are left out: {listed(silent, 3)}",) if silent else ()
    return Recorded(utterances=spoken, where=where, odd=odd)


def _sound(name: str, folders: Sequence[Path]) -> Path:
    """The file of a name in one of these folders; in the first, where none has it, for the error that follows."""
    places = [folder / place / name for folder in folders for place in _PLACES]
    return next((path for path in places if path.is_file()), folders[0] / name)


def _of_records(path: Path, folder: Path, audio: str, text: str) -> Iterator[Utterance]:
    known = list(next(read_records(path, needs=())).fields)
    audio, text = (
        next((name for name in (wanted, *others) if name in known), wanted)
        for wanted, others in ((audio, _SOUND), (text, _TEXT))
    )
    for record in read_records(path, needs=(audio, text)):
        said = record.value(text)
        if not isinstance(said, str):
            raise ValueError(f"{record.where}: {text!r} must be a text")
        start = _seconds(record, "start", "offset") or 0.0
        end, duration = _seconds(record, "end"), _seconds(record, "duration")
        if end is None and duration is not None and "offset" in record.fields:
            end = start + duration
        yield Utterance(sound=_sound(record.text(audio), [folder]), text=said, start=start, end=end)


def _seconds(record: Record, *keys: str) -> float | None:
    """A field of seconds, if there is one."""
    for key in keys:
        value = record.fields.get(key)
        if value is None or value == "":
            continue
        try:
            return float(value)
        except (TypeError, ValueError):
            raise ValueError(f"{record.where}: {key!r} is a number of seconds, not {value!r}") from None
    return None


def _of_kaldi(path: Path, folder: Path) -> Iterator[Utterance]:
    sounds: dict[str, Path] = {}
    for name, rest in _table(path / "wav.scp").items():
        if rest.rstrip().endswith("|"):
            raise ValueError(
                f"{path / 'wav.scp'} has a command for {name}, which is not run: {rest}. Write the sound to a file, "
                "and give its path"
            )
        sounds[name] = _sound(rest.strip(), [folder, path])
    texts = _table(path / "text")
    if not (path / "segments").is_file():
        _require(texts, sounds, path / "wav.scp")
        yield from (Utterance(sound=sounds[name], text=said) for name, said in texts.items())
        return
    segments = _table(path / "segments")
    _require(texts, segments, path / "segments")
    for name, said in texts.items():
        parts = segments[name].split()
        try:
            recording, start, end = parts[0], float(parts[1]), float(parts[2])
        except (IndexError, ValueError):
            raise ValueError(
                f"{path / 'segments'}: {name} must be followed by a recording and two times in seconds: "
                f"{segments[name]}"
            ) from None
        _require([recording], sounds, path / "wav.scp")
        yield Utterance(sound=sounds[recording], text=said, start=start, end=end)


def _table(path: Path) -> dict[str, str]:
    """The lines of a Kaldi file: a name, and what follows it."""
    if not path.is_file():
        raise ValueError(f"{path.parent} has wav.scp, but no {path.name}")
    found: dict[str, str] = {}
    for number, line in enumerate(lines(path), start=1):
        name, _, rest = line.strip().partition(" ")
        if not name:
            continue
        if name in found:
            raise ValueError(f"{path}, line {number} has {name} for the second time")
        found[name] = rest
    return found


def _require(wanted: Iterable[str], known: Mapping[str, object], path: Path) -> None:
    lacking = [name for name in wanted if name not in known]
    if lacking:
        raise ValueError(f"{path} lacks {listed(lacking, 3)}")


def _of_librispeech(transcripts: Sequence[Path]) -> Iterator[Utterance]:
    for path in transcripts:
        sounds = {each.stem: each for each in sorted(path.parent.iterdir()) if each.suffix != ".txt"}
        for number, line in enumerate(lines(path), start=1):
            name, _, said = line.strip().partition(" ")
            if not name:
                continue
            if name not in sounds:
                raise ValueError(f"{path}, line {number}: there is no sound {name} beside it")
            yield Utterance(sound=sounds[name], text=said)


def _listing(folder: Path, split: str) -> Path | None:
    """The file that names the recordings of a split."""
    exact = folder / "etc" / f"{split}.fileids"
    return exact if exact.is_file() else next(iter(sorted((folder / "etc").glob(f"*_{split}.fileids"))), None)


def _of_sphinx(listing: Path, folder: Path) -> Iterator[Utterance]:
    texts: dict[str, tuple[str, Path]] = {}
    for path in sorted(listing.parent.glob("*.transcription")):
        for number, line in enumerate(lines(path), start=1):
            if not line.strip():
                continue
            found = re.fullmatch(r"(.*)\(([^()\s]+)\)\s*", line)
            if found is None:
                raise ValueError(f"{path}, line {number} must end with a name in brackets: {line[:80]}")
            said, name = found[1].replace("<s>", " ").replace("</s>", " ").replace("<sil>", " "), found[2]
            if name in texts and texts[name][0].split() != said.split():
                raise ValueError(f"{path}, line {number} has another text for {name} than {texts[name][1]}")
            texts[name] = said, path
    for number, line in enumerate(lines(listing), start=1):
        place = line.strip()
        if not place:
            continue
        name = Path(place).name
        if name not in texts:
            raise ValueError(f"{listing}, line {number}: no *.transcription beside it has {name}")
        places = [folder / "wav" / place, folder / place]
        sounds = [each for near in places for each in sorted(near.parent.glob(f"{name}.*"))]
        yield Utterance(sound=sounds[0] if sounds else places[0].with_suffix(".wav"), text=texts[name][0])
