"""A trained translator's tokens a second, beside CTranslate2 and `transformers` with the same weights.

    python benchmarks/decoding_speed.py RUN --data DIR --split test
    python benchmarks/decoding_speed.py RUN --data DIR --split test --threads 1 2 --batch 1 32

The run is exported, and all translate the same sources, longest first, in the same batches, by greedy search and by a
beam of 5, float32, round by round one after the other. Tokens are those of the best output, END counted; what of the
outputs is the same is told. CTranslate2 runs with as many threads inside a batch as torch has; to `transformers` the
run is a model of its M2M100, whose layers are the same.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from timing import machine, median

from regard.data.parallel import read_parallel
from regard.decoding import Beam, Greedy, search
from regard.export.ctranslate2 import to_ctranslate2
from regard.models.tokens import END, PAD, START, UNKNOWN
from regard.models.transformer import Transformer
from regard.nn.positions import Sinusoidal
from regard.tasks.registry import open_run

LONGEST = 100
Found = tuple[int, float, list[list[str]]]


def batches(sources: list[list[int]], size: int) -> list[list[list[int]]]:
    ordered = sorted(sources, key=len, reverse=True)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def padded(rows: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    lengths = torch.tensor([len(row) + 1 for row in rows])
    source = torch.full((len(rows), int(lengths.max())), PAD)
    for number, row in enumerate(rows):
        source[number, : len(row) + 1] = torch.tensor([*row, END])
    return source, lengths


def ours(writer: Any, some: list[list[list[int]]], beam: int, longest: int = LONGEST) -> Found:
    options = Greedy(max_length=longest) if beam == 1 else Beam(width=beam, max_length=longest)
    tokens, outputs, began = 0, [], time.perf_counter()
    for rows in some:
        for best, *_ in search(writer.model, *padded(rows), options):
            tokens += len(best.tokens) + 1
            outputs.append(writer.tokenizers.target.tokens(best.tokens))
    return tokens, time.perf_counter() - began, outputs


def theirs(translator: Any, writer: Any, some: list[list[list[int]]], beam: int, longest: int = LONGEST) -> Found:
    pieces = [[writer.tokenizers.source.tokens(row) for row in rows] for rows in some]
    tokens, outputs, began = 0, [], time.perf_counter()
    for rows in pieces:
        for found in translator.translate_batch(
            rows,
            beam_size=beam,
            length_penalty=1.0,
            max_decoding_length=longest,
            min_decoding_length=0,
            disable_unk=True,
            suppress_sequences=[["<pad>"], ["<s>"]],
        ):
            tokens += len(found.hypotheses[0]) + 1
            outputs.append(found.hypotheses[0])
    return tokens, time.perf_counter() - began, outputs


def as_m2m100(model: Transformer) -> Any:
    """The same weights as a model of `transformers`: pre-norm layers, ReLU, embeddings scaled and shared."""
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    encoder, decoder = model.encoder, model.decoder
    first: Any = decoder.layers[0]
    dim, places = model.output_weight.shape[1], 512
    if not first.around_attention.pre_norm or not isinstance(encoder.embedding.position, Sinusoidal):
        raise ValueError("M2M100 is pre-norm with sinusoidal positions: measure such a run, or --without-transformers")
    config = M2M100Config(
        vocab_size=len(model.output_weight),
        d_model=dim,
        encoder_layers=len(encoder.layers),
        decoder_layers=len(decoder.layers),
        encoder_attention_heads=first.attention.heads,
        decoder_attention_heads=first.attention.heads,
        encoder_ffn_dim=first.feed_forward.inner.out_features,
        decoder_ffn_dim=first.feed_forward.inner.out_features,
        scale_embedding=True,
        max_position_embeddings=places,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
        decoder_start_token_id=START,
    )
    other = M2M100ForConditionalGeneration(config).eval()
    with torch.no_grad():
        other.lm_head.weight.copy_(model.output_weight)
        for part, given in ((encoder, other.model.encoder), (decoder, other.model.decoder)):
            given.embed_tokens.weight.copy_(part.embedding.table.weight)
            encodings = part.embedding.position(torch.zeros(1, places, dim))[0]
            given.embed_positions.weights = torch.cat((torch.zeros(PAD + 1, dim), encodings))
            _copy(given.layer_norm, part.norm)
            layers: Any = part.layers
            for layer, one in zip(layers, given.layers, strict=True):
                _copy_attention(one.self_attn, layer.attention)
                _copy(one.self_attn_layer_norm, layer.around_attention.norm)
                if part is decoder:
                    _copy_attention(one.encoder_attn, layer.cross)
                    _copy(one.encoder_attn_layer_norm, layer.around_cross.norm)
                _copy(one.final_layer_norm, layer.around_feed_forward.norm)
                _copy(one.fc1, layer.feed_forward.inner)
                _copy(one.fc2, layer.feed_forward.outer)
    return other


def _copy(to: Any, layer: Any) -> None:
    to.weight.copy_(layer.weight)
    to.bias.copy_(layer.bias)


def _copy_attention(to: Any, layer: Any) -> None:
    _copy(to.q_proj, layer.query)
    _copy(to.out_proj, layer.output)
    for part, weight, bias in zip(
        (to.k_proj, to.v_proj), layer.key_value.weight.chunk(2), layer.key_value.bias.chunk(2), strict=True
    ):
        part.weight.copy_(weight)
        part.bias.copy_(bias)


def hub(other: Any, writer: Any, some: list[list[list[int]]], beam: int, longest: int = LONGEST) -> Found:
    tokens, outputs, began = 0, [], time.perf_counter()
    for rows in some:
        source, lengths = padded(rows)
        with torch.no_grad():
            found = other.generate(
                source,
                attention_mask=(torch.arange(source.shape[1]) < lengths[:, None]).long(),
                num_beams=beam,
                do_sample=False,
                max_new_tokens=longest,
                suppress_tokens=[PAD, START, UNKNOWN],
            )
        for row in found[:, 1:].tolist():
            written = row[: row.index(END)] if END in row else row
            tokens += len(written) + 1
            outputs.append(writer.tokenizers.target.tokens(written))
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
    parser.add_argument("--alone", type=int, default=64, help="sources of them where the batch is 1")
    parser.add_argument("--without-transformers", action="store_true")
    options = parser.parse_args()
    application, directory = open_run(options.run)
    writer = application.load(directory)
    recipe = writer.recipe
    data, split = options.data or recipe.data, options.split or recipe.files.test
    pairs = read_parallel(data, split, source=recipe.files.source, target=recipe.files.target)
    sources = writer.tokenizers.source.encode(pairs.sources[: options.sentences])
    print(machine())
    print(f"{len(sources)} sources of {split}, medians of {options.rounds} rounds, tokens a second\n")
    names = ["Regard", "CTranslate2", *([] if options.without_transformers else ["transformers"])]
    same_as = [f"same as {name}" for name in names[1:]]
    head = ["beam", "batch", "threads", *names, *[f"/ {name}" for name in names[1:]], *same_as]
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}")
    other = None if options.without_transformers else as_m2m100(writer.model)
    with TemporaryDirectory() as folder:
        to_ctranslate2(writer, Path(folder) / "model")
        for threads in options.threads:
            torch.set_num_threads(threads)
            translator = ctranslate2.Translator(
                str(Path(folder) / "model"), device="cpu", compute_type="float32", intra_threads=threads
            )

            def runs(some: list[list[list[int]]], translator: Any = translator) -> list[Callable[..., Found]]:
                found = [partial(ours, writer, some), partial(theirs, translator, writer, some)]
                return found if other is None else [*found, partial(hub, other, writer, some)]

            for beam, size in product(options.beams, options.batch):
                some = batches(sources[: options.alone] if size == 1 else sources, size)
                speeds, _, outputs = measured([partial(run, beam=beam) for run in runs(some)], options.rounds)
                same = [sum(a == b for a, b in zip(outputs[0], one, strict=True)) for one in outputs[1:]]
                ratios = [f"{speeds[0] / speed:.2f}" for speed in speeds[1:]]
                numbers = [f"{speed:.0f}" for speed in speeds]
                shared = [f"{count} of {len(outputs[0])}" for count in same]
                print(f"| {beam} | {size} | {threads} | {' | '.join([*numbers, *ratios, *shared])} |", flush=True)
            alone = batches(sources[: options.alone], 1)
            first = [partial(run, beam=1, longest=1) for run in runs(alone)]
            _, seconds, _ = measured(first, options.rounds)
            waits = ", ".join(f"{name} {1e3 * one / len(alone):.1f}" for name, one in zip(names, seconds, strict=True))
            print(f"\nfirst token, batch 1, {threads} threads, ms: {waits}\n", flush=True)


def measured(rivals: list[Callable[[], Found]], rounds: int) -> tuple[list[float], list[float], list[list[list[str]]]]:
    """Tokens a second of each, its seconds, and its outputs."""
    for run in rivals:
        run()
    found = [[run() for run in rivals] for _ in range(rounds)]
    of_each = list(zip(*found, strict=True))
    speeds = [median([tokens / seconds for tokens, seconds, _ in own]) for own in of_each]
    return speeds, [median([seconds for _, seconds, _ in own]) for own in of_each], [own[-1][2] for own in of_each]


if __name__ == "__main__":
    main()
