"""A trained recognizer measured: real-time factors, one long recording, and streams at several latencies.

    python benchmarks/speech_recognition.py RUN
    python benchmarks/speech_recognition.py RUN --parts long    # joined recordings: word error rate and peak memory
    python benchmarks/speech_recognition.py RUN --parts stream

On the recordings that `regard evaluate RUN` reads. A real-time factor is seconds of computing by seconds of sound;
reading files is in it. Streams are fed a tenth of a second at a time, as fast as they take it.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from attention_memory import peak_of
from timing import machine

from regard.data.recorded import Recorded
from regard.data.sounds import write_sound
from regard.decoding import Greedy
from regard.tasks.registry import open_run
from regard.tasks.speech.evaluation import find
from regard.tasks.speech.metrics import word_errors
from regard.tasks.speech.transcriber import Transcriber

GAP = 0.5  # seconds of silence between recordings that are joined


def seconds_of(recorded: Recorded, rate: int) -> float:
    return sum(len(recorded.sound(place, rate)) for place in range(len(recorded))) / rate


def timed(run: Callable[[], list[str]]) -> tuple[list[str], float]:
    began = time.perf_counter()
    return run(), time.perf_counter() - began


def speed(transcriber: Transcriber, recorded: Recorded) -> None:
    """All recordings of the test, by both searches."""
    sound = seconds_of(recorded, transcriber.recipe.rate)
    print("\n| search | WER | seconds | real-time factor |\n|---|---|---|---|")
    for name, options in (("beam", None), ("greedy (CTC)", Greedy())):
        outputs, seconds = timed(lambda options=options: transcriber.transcribe(recorded, options))
        rate = word_errors(outputs, recorded.texts())
        print(f"| {name} | {rate:.2f} | {seconds:.1f} of {sound:.1f} | {seconds / sound:.3f} |", flush=True)


def joined(recorded: Recorded, rate: int, minutes: float) -> tuple[torch.Tensor, str]:
    """Recordings one after the other, again from the first, until there are so many minutes; and what is said."""
    pieces, texts, length, place = [], [], 0, 0
    while length < minutes * 60 * rate:
        sound = recorded.sound(place % len(recorded), rate)
        pieces += [sound, torch.zeros(round(GAP * rate))]
        texts.append(recorded.utterances[place % len(recorded)].text)
        length += len(sound) + len(pieces[-1])
        place += 1
    return torch.cat(pieces), " ".join(texts)


def long(transcriber: Transcriber, recorded: Recorded, minutes: float) -> None:
    """Ten minutes in one file."""
    rate = transcriber.recipe.rate
    print("\n| minutes | search | WER | real-time factor | peak memory over what was held, MB |\n|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for length in (minutes / 4, minutes):
            path = Path(folder) / f"{length:g}.wav"
            sound, text = joined(recorded, rate, length)
            write_sound(path, sound, rate)
            for name, options in (("beam", None), ("greedy (CTC)", Greedy())):
                found: list[tuple[list[str], float]] = []

                def run(path: Path = path, options: Greedy | None = options, found: list = found) -> None:
                    found.append(timed(lambda: [next(iter(transcriber.predict([str(path)], options)))[0].text]))

                megabytes = peak_of(run)
                (outputs, seconds), *_ = found
                wrong = word_errors(outputs, [text])
                share = seconds * rate / len(sound)
                print(f"| {length:g} | {name} | {wrong:.2f} | {share:.3f} | {megabytes:.0f} |", flush=True)


def stream(transcriber: Transcriber, recorded: Recorded) -> None:
    """Each recording fed as it would come from a microphone."""
    rate = transcriber.recipe.rate
    print("\n| chunk, s | ahead, s | latency, s | WER | real-time factor |\n|---|---|---|---|---|")
    for chunk, ahead in ((0.4, 0.2), (1.0, 0.5), (2.0, 1.0)):
        outputs, began, sounds = [], time.perf_counter(), 0
        for place in range(len(recorded)):
            one, sound = transcriber.stream(chunk=chunk, ahead=ahead), recorded.sound(place, rate)
            words = [word.text for piece in sound.split(rate // 10) for word in one.feed(piece)]
            outputs.append(" ".join([*words, *(word.text for word in one.finish())]))
            sounds += len(sound)
        share = (time.perf_counter() - began) * rate / sounds
        wrong = word_errors(outputs, recorded.texts())
        print(f"| {chunk:g} | {ahead:g} | {one.latency:.2f} | {wrong:.2f} | {share:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of speech recognition")
    parser.add_argument("--parts", nargs="+", default=["speed", "long", "stream"], help="speed, long, stream")
    parser.add_argument("--split", help="default: the recipe's test recordings")
    parser.add_argument("--minutes", type=float, default=10.0, help="of the long recording")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    application, directory = open_run(options.run)
    transcriber = application.load(directory)
    recorded = find(transcriber.recipe, options.split or transcriber.recipe.files.test)
    print(machine())
    if "speed" in options.parts:
        speed(transcriber, recorded)
    if "long" in options.parts:
        long(transcriber, recorded, options.minutes)
    if "stream" in options.parts:
        stream(transcriber, recorded)


if __name__ == "__main__":
    main()
