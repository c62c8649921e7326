"""Seeing a long context: a Llama-shaped model of `transformers` with random weights, one forward pass by length.

    python benchmarks/hub_long.py
    python benchmarks/hub_long.py --lengths 1024 4096 --rounds 5

Beside each other: eager attention asked for all weights, the fused call of torch (sdpa) that sees nothing, Regard that
sees nothing, and Regard watched: the 8 strongest keys of each query, entropies, weight received, and a map of 256 by
256 for every head. Each is a process of its own, so that its peak memory (Linux) is its own: what it held at its most
beyond the loaded model, in its first pass. Times are medians of `--rounds` more passes, which take turns. A dash where
eager attention would want more than `--limit` GB for its scores and weights: it is not tried.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from attention_memory import held
from timing import machine, median
from transformers import LlamaConfig, LlamaModel

import regard
import regard.hub

LAYERS, HEADS, KV_HEADS, DIM = 4, 8, 4, 256
RECORD = [regard.TopK(8), regard.Entropy(), regard.Received(), regard.Pooled(256, 256)]
FORMS = {
    "eager, all weights": "eager",
    "sdpa": "sdpa",
    "regard": "regard",
    "regard, watched": "regard",
}


class Pass:
    """One forward pass of one form."""

    def __init__(self, form: str, length: int) -> None:
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=1000,
            hidden_size=DIM,
            intermediate_size=2 * DIM,
            num_hidden_layers=LAYERS,
            num_attention_heads=HEADS,
            num_key_value_heads=KV_HEADS,
            max_position_embeddings=length,
        )
        self.form = form
        self.model = LlamaModel(config).eval()
        self.model.set_attn_implementation(FORMS[form])
        self.tokens = torch.randint(0, 1000, (1, length))

    @torch.no_grad()
    def __call__(self, length: int | None = None) -> Any:
        tokens = self.tokens[:, :length]
        if self.form == "regard, watched":
            with regard.watch(self.model, *RECORD) as seen:
                self.model(tokens, use_cache=False)
            return seen
        return self.model(tokens, use_cache=False, output_attentions="weights" in self.form)


def serve(form: str, length: int) -> None:
    """A line of figures for every line that is read."""
    run = Pass(form, length)
    run(64)  # what is loaded once is not the pass's
    for _ in sys.stdin:
        Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
        before, began = held("VmRSS"), time.perf_counter()
        result = run()
        figures = {"seconds": time.perf_counter() - began, "megabytes": held("VmHWM") - before}
        del result
        print(json.dumps(figures), flush=True)


def compare(length: int, rounds: int, limit: float, threads: int) -> None:
    workers = {}
    for form in FORMS:
        # Scores and weights of a layer, and the weights of all layers.
        wanted = (LAYERS + 2) * HEADS * length**2 * 4 / 2**30 if form.startswith("eager") else 0.0
        if wanted <= limit:
            command = [sys.executable, __file__, "--one", form, "--lengths", str(length), "--threads", str(threads)]
            workers[form] = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    figures: dict[str, list[dict[str, float]]] = {form: [] for form in workers}
    for _ in range(rounds + 1):
        for form, worker in workers.items():
            print("go", file=worker.stdin, flush=True)
            figures[form].append(json.loads(worker.stdout.readline()))
    for worker in workers.values():
        worker.communicate()
    plain = median([one["seconds"] for one in figures["regard"][1:]])
    for form in FORMS:
        if form not in figures:
            print(f"| {length:,} | {form} | - | - | - |", flush=True)
            continue
        seconds = median([one["seconds"] for one in figures[form][1:]])
        megabytes = figures[form][0]["megabytes"]
        print(f"| {length:,} | {form} | {seconds:.2f} | {seconds / plain:.2f}x | {megabytes:,.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 2048, 4096, 8192, 16384, 32768])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=16.0, help="GB that a form may want")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        serve(options.one, options.lengths[0])
        return
    print(machine())
    print(f"\n{LAYERS} layers, width {DIM}, {HEADS} heads, {KV_HEADS} of keys and values, float32.\n")
    print("| tokens | form | seconds | of regard's | peak memory, MB |\n|---|---|---|---|---|")
    for length in options.lengths:
        compare(length, options.rounds, options.limit, options.threads)


if __name__ == "__main__":
    main()
