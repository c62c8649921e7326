"""A trained translator's tokens a second, beside CTranslate2 with the same weights.

    python benchmarks/decoding_speed.py RUN --data DIR --split test
    python benchmarks/decoding_speed.py RUN --data DIR --split test --threads 1 2 --batch 1 32

The run is exported, and both translate the same sources, longest first, in the same batches, by greedy search and by a
beam of 5, float32, round by round one after the other. Tokens are those of the best output, END counted; what of the
outputs is the same is told. CTranslate2 runs with as many threads inside a batch as torch has.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timing import machine, median

from regard.data.parallel import read_parallel
from regard.decoding import Beam, Greedy, search
from regard.export.ctranslate2 import to_ctranslate2
from regard.models.tokens import END, PAD
from regard.tasks.registry import open_run

LONGEST = 100
Found = tuple[int, float, list[list[str]]]


def batches(sources: list[list[int]], size: int) -> list[list[list[int]]]:
    ordered = sorted(sources, key=len, reverse=True)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def ours(writer: Any, some: list[list[list[int]]], beam: int) -> Found:
    options = Greedy(max_length=LONGEST) if beam == 1 else Beam(width=beam, max_length=LONGEST)
    tokens, outputs, began = 0, [], time.perf_counter()
    for rows in some:
        lengths = torch.tensor([len(row) + 1 for row in rows])
        source = torch.full((len(rows), int(lengths.max())), PAD)
        for number, row in enumerate(rows):
            source[number, : len(row) + 1] = torch.tensor([*row, END])
        for best, *_ in search(writer.model, source, lengths, options):
            tokens += len(best.tokens) + 1
            outputs.append(writer.tokenizers.target.tokens(best.tokens))
    return tokens, time.perf_counter() - began, outputs


def theirs(translator: Any, writer: Any, some: list[list[list[int]]], beam: int) -> Found:
    pieces = [[writer.tokenizers.source.tokens(row) for row in rows] for rows in some]
    tokens, outputs, began = 0, [], time.perf_counter()
    for rows in pieces:
        for found in translator.translate_batch(
            rows,
            beam_size=beam,
            length_penalty=1.0,
            max_decoding_length=LONGEST,
            min_decoding_length=0,
            disable_unk=True,
            suppress_sequences=[["<pad>"], ["<s>"]],
        ):
            tokens += len(found.hypotheses[0]) + 1
            outputs.append(found.hypotheses[0])
    return tokens, time.perf_counter() - began, outputs


def main() -> None:
    import ctranslate2

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", help="a run of translation by a Transformer")
    parser.add_argument("--data", help="the folder with the sentences (default: the recipe's)")
    parser.add_argument("--split", help="default: the recipe's test sentences")
    parser.add_argument("--sentences", type=int, default=512)
    parser.add_argument("--batch", type=int, nargs="+", default=[32])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    application, directory = open_run(options.run)
    writer = application.load(directory)
    recipe = writer.recipe
    data, split = options.data or recipe.data, options.split or recipe.files.test
    pairs = read_parallel(data, split, source=recipe.files.source, target=recipe.files.target)
    sources = writer.tokenizers.source.encode(pairs.sources[: options.sentences])
    print(machine())
    print(f"{len(sources)} sources of {split}, medians of {options.rounds} rounds, tokens a second\n")
    print("| beam | batch | threads | Regard | CTranslate2 | ratio | same outputs |\n|---|---|---|---|---|---|---|")
    with TemporaryDirectory() as folder:
        to_ctranslate2(writer, Path(folder) / "model")
        for threads in options.threads:
            torch.set_num_threads(threads)
            translator = ctranslate2.Translator(
                str(Path(folder) / "model"), device="cpu", compute_type="float32", intra_threads=threads
            )
            for beam in options.beams:
                for size in options.batch:
                    some = batches(sources, size)
                    rivals: dict[str, Callable[..., Found]] = {
                        "ours": lambda some=some, beam=beam: ours(writer, some, beam),
                        "theirs": lambda some=some, beam=beam, translator=translator: theirs(
                            translator, writer, some, beam
                        ),
                    }
                    for run in rivals.values():
                        run()
                    speeds: dict[str, list[float]] = {name: [] for name in rivals}
                    outputs = {}
                    for _ in range(options.rounds):
                        for name, run in rivals.items():
                            tokens, seconds, outputs[name] = run()
                            speeds[name].append(tokens / seconds)
                    one, other = (median(speeds[name]) for name in rivals)
                    same = sum(a == b for a, b in zip(outputs["ours"], outputs["theirs"], strict=True))
                    print(
                        f"| {beam} | {size} | {threads} | {one:.0f} | {other:.0f} | {one / other:.2f} | "
                        f"{same} of {len(sources)} |",
                        flush=True,
                    )


if __name__ == "__main__":
    main()
