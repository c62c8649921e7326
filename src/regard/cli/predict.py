"""`regard predict MODEL INPUT...`: run a trained model."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from regard.cli.bulk import add_bulk, predict_files
from regard.cli.opening import add_model, open_predictor
from regard.cli.searching import add_search_flags, search_options
from regard.data.lines import lines, read_lines
from regard.tasks.computing import computing


def run(arguments: list[str]) -> int:
    """Predict for arguments, the lines of files, or those of standard input."""
    parser = argparse.ArgumentParser(
        prog="regard predict",
        description="Run a trained model on arguments, on the lines of files (--file), or on those of standard input. "
        "For a model of pictures or of speech an input is the name of a file.",
    )
    add_model(parser)
    parser.add_argument("input", nargs="*", help="inputs; none: the lines of --file or of standard input")
    parser.add_argument("--file", type=Path, action="append", default=[], help="a text file, a line an input")
    parser.add_argument("--whole", action="store_true", help="all of a file is one input, such as a document")
    parser.add_argument("--json", action="store_true", help="one JSON object a line: input, outputs and their scores")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        help="of pictures: the folder for what is drawn (default: predictions); of speech: for subtitles; with "
        "--input: for the parts",
    )
    parser.add_argument(
        "--stream",
        action="store_true",
        help="of speech: words while they are said, from raw sound on standard input (16 bits, one channel, at the "
        "model's rate)",
    )
    parser.add_argument("--chunk", type=float, default=1.0, help="of --stream: seconds that are heard at a time")
    parser.add_argument("--ahead", type=float, default=0.5, help="of --stream: seconds behind them that are awaited")
    parser.add_argument(
        "--pause", type=float, default=0.6, help="of --stream: seconds of nothing that end a word (slow Morse: 1.5)"
    )
    add_bulk(parser)
    parser.add_argument("--skip", action="store_true", help="name inputs that cannot be read, and go on without them")
    add_search_flags(parser)
    options = parser.parse_args(arguments)
    if options.pattern is not None:
        return predict_files(options)
    if options.stream and (options.input or options.file):
        raise ValueError(
            "--stream reads standard input: arecord -t raw -f S16_LE -r 16000 | regard predict RUN --stream"
        )
    if options.stream:
        predictor, _ = open_predictor(options)
        with computing(predictor, options.precision):
            return _stream(predictor, options)
    texts = [*options.input, *(text for path in options.file for text in _texts(path, whole=options.whole))]
    if not options.input and not options.file:
        if sys.stdin.isatty():
            print("reading standard input, a line an input; end with Ctrl-D", file=sys.stderr)
        texts = read_lines("-")
    predictor, _ = open_predictor(options)
    with computing(predictor, options.precision):
        return _predict(predictor, texts, options)


def _predict(predictor: Any, texts: list[str], options: argparse.Namespace) -> int:
    """What there is for each input, as soon as it is there."""
    search = search_options(options, predictor.recipe)
    draws, writes = (getattr(predictor, name, False) for name in ("draws", "writes"))
    if options.output is not None and not (draws or writes):
        raise ValueError(
            "-o is for models of pictures, which draw; put texts into a file by: regard predict ... > FILE"
        )
    has_files = draws or (writes and options.output is not None)
    if options.skip:
        found: Iterable[tuple[str, Any]] = _each(predictor, texts, search)
    else:
        found = zip(texts, predictor.predict(texts, **search), strict=True)
    written: set[Path] = set()
    count = 0
    for text, outputs in found:
        count += 1
        if options.json:
            print(json.dumps({"input": text, "outputs": [one.record() for one in outputs]}, ensure_ascii=False))
        elif len(outputs) == 1:
            print(outputs[0])
        else:
            print("\n".join(output.ranked for output in outputs))
        for output in outputs if has_files else ():
            _write(output, text, options.output or Path("predictions"), written)
    return int(count < len(texts))


def _stream(predictor: Any, options: argparse.Namespace) -> int:
    """Words as they are said, a line each: from, to, and the word."""
    if not hasattr(predictor, "stream"):
        raise ValueError("--stream is for models of speech")
    stream = predictor.stream(chunk=options.chunk, ahead=options.ahead, pause=options.pause)
    print(
        f"hearing {predictor.recipe.rate} samples a second; what is said is heard within {stream.latency:.2f} seconds",
        file=sys.stderr,
    )
    for words in chain(map(stream.feed, _sound()), [stream.finish()]):
        for word in words:
            text = f"{word.start:9.2f} {word.end:9.2f}  {word.text}"
            record = {"text": word.text, "start": word.start, "end": word.end}
            print(json.dumps(record, ensure_ascii=False) if options.json else text, flush=True)
    return 0


def _sound() -> Iterator[Any]:
    """Raw sound of standard input, as it comes."""
    import torch

    source: Any = sys.stdin.buffer
    rest = b""
    while more := source.read1(65_536):  # what is there, without waiting for all of it
        whole = rest + more
        even = len(whole) - len(whole) % 2
        rest = whole[even:]
        if even:
            yield torch.frombuffer(bytearray(whole[:even]), dtype=torch.int16).float() / 32768.0


def _each(predictor: Any, texts: list[str], search: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each input that can be read, with its outputs; the others are named."""
    for text in texts:
        try:
            (outputs,) = predictor.predict([text], **search)
        except ValueError as error:
            print(f"left out: {error}", file=sys.stderr)
        else:
            yield text, outputs


def _write(output: Any, given: str, folder: Path, written: set[Path]) -> None:
    """Write what an output draws, beside what earlier ones drew."""
    folder.mkdir(parents=True, exist_ok=True)
    stem, number, files = Path(given).stem, 2, output.files()
    while any(folder / f"{stem}{ending}" in written for ending in files):  # pictures of one name from two folders
        stem, number = f"{Path(given).stem}-{number}", number + 1
    for ending, content in files.items():
        path = folder / f"{stem}{ending}"
        path.write_bytes(content)
        written.add(path)
        print(f"wrote {path}", file=sys.stderr)


def _texts(path: Path, *, whole: bool) -> list[str]:
    """The inputs in a file: its lines, or all of it."""
    return ["\n".join(lines(path))] if whole else read_lines(path)
