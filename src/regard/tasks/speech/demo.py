"""The demo: a small recognizer that learns to read Morse code by ear."""

import csv
from pathlib import Path
from random import Random
from statistics import median

from regard.data.sound_augmentation import SoundAugmentation
from regard.data.sounds import write_sound
from regard.decoding import Beam, Greedy
from regard.tasks.morse import RATE, Keyed, key
from regard.tasks.speech.recipe import Model, Recipe
from regard.tasks.speech.transcriber import Transcriber
from regard.tasks.sub_words import SubWords
from regard.training import TrainingOptions

DESCRIPTION = "Morse code by many hands, through fading and noise, written down, with the second of each word"
TITLE = "What was heard when"
EXAMPLES = 2400
EPOCHS = 10
SIZES = {"val": 40, "test": 60}
_SHOWN = 3
_LESSONS = (1, 1, 2)  # words of a transmission to learn from
_WORDS = 2  # of one to be tested on


def write_data(folder: Path, *, examples: int = EXAMPLES) -> list[str]:
    """Key the training, validation and test recordings, with a table of what each says; a few of them to show."""
    shown: list[str] = []
    for split, size in {"train": examples, **SIZES}.items():
        (folder / "audio" / split).mkdir(parents=True, exist_ok=True)
        rows = []
        for number in range(size):
            words = _LESSONS[number % len(_LESSONS)] if split == "train" else _WORDS
            keyed = key(Random(f"1 {split} {number}"), words=words)
            name = f"audio/{split}/{number:04d}.wav"
            write_sound(folder / name, keyed.sound, RATE)
            rows.append((name, keyed.text))
            if len(shown) < _SHOWN:
                shown.append(f"{name}: {keyed.text}")
        with open(folder / f"{split}.csv", "w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("audio", "text"), *rows])
    return shown


def recipe(folder: Path, *, epochs: int = EPOCHS) -> Recipe:
    """How the demo trains: characters out, about two minutes on two CPU cores."""
    return Recipe(
        data=str(folder),
        sub_words=SubWords(vocabulary=45),
        rate=RATE,
        bands=16,
        step=0.02,
        model=Model(
            dim=64,
            layers=2,
            decoder_layers=1,
            heads=4,
            feed_forward=128,
            channels=16,
            dropout=0.05,
        ),
        augmentation=SoundAugmentation(speed=[1.0], bands=0, gaps=0),
        batch=60.0,
        longest=60.0,
        ctc=0.5,
        flat_start=1,
        label_smoothing=0.05,
        # Two threads are no faster in a model so small, and wait for each other where cores are busy.
        training=TrainingOptions(
            epochs=epochs, learning_rate=3e-3, warmup_steps=100, validate_every=2, average=1, threads=1
        ),
        decoding=Beam(width=4, length_penalty=0.0),
        decoding_ctc=0.5,
    )


def looks(folder: Path) -> list[str]:
    """The recordings that are looked at."""
    return [str(folder / "audio" / "test" / f"{number:04d}.wav") for number in range(_SHOWN)]


def trial(folder: Path) -> str:
    """What to try the model on."""
    return looks(folder)[0]


def report(transcriber: Transcriber) -> None:
    """Print how well it does on recordings never heard, and whether it knows when."""
    found = transcriber.evaluate()
    print(f"\non {len(found.outputs)} recordings never heard:")
    for score in found.scores:
        print(f"  {score}")
    print(found.table)
    keyed = [_test(number) for number in range(len(found.outputs))]
    files = [
        str(Path(transcriber.recipe.data) / "audio" / "test" / f"{number:04d}.wav") for number in range(len(keyed))
    ]
    off = [
        abs(word.start - start)
        for (output,), one in zip(transcriber.predict(files, Greedy()), keyed, strict=True)
        if output.text == one.text
        for word, start in zip(output.words, _starts(one), strict=True)
    ]
    if off:
        print(f"\nwords begin {1000 * median(off):.0f} ms from where they were keyed (median of {len(off)})")
    print("\nnever heard in training:")
    for number, (output, one) in enumerate(zip(found.outputs[:_SHOWN], keyed, strict=False)):
        verdict = "right" if output == one.text else f"wrong, it is {one.text}"
        print(f"  {number:04d}.wav   {output:<40} {verdict}")


def _test(number: int) -> Keyed:
    return key(Random(f"1 test {number}"), words=_WORDS)


def _starts(keyed: Keyed) -> list[float]:
    """When each word begins."""
    starts, place = [], 0
    for word in keyed.text.split():
        starts.append(keyed.times[place][0])
        place += len(word)
    return starts
