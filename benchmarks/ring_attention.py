"""Ring attention on processes of one machine: peak memory of each rank, and what spreading costs.

    python benchmarks/ring_attention.py                       # 1, 2 and 4 ranks, causal, forward and backward
    python benchmarks/ring_attention.py --lengths 4096 16384 --ranks 1 2

Memory is what a rank held at its highest beyond what it held before its tensors were made: its part of query, key and
value, of their gradients, and all that the call needs (Linux). "One process" is `regard.attend` of the whole sequence.
Ranks share the machine's cores, one thread each, so that their seconds are no speed where there are fewer cores than
ranks: "work" is the processor's seconds of all ranks together.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
from attention_memory import peak_of
from timing import machine

import regard
from regard.distributed import Contiguous, Layout, ZigZag, attend

HEADS, KV_HEADS, WIDTH = 8, 8, 64
LAYOUTS: dict[str, type[Layout]] = {"contiguous": Contiguous, "zigzag": ZigZag}


def one_rank(options: argparse.Namespace) -> None:
    """Forward and backward of this rank's part; its figures as JSON."""
    rank, ranks = options.rank, options.of
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{options.folder / 'store'}", rank=rank, world_size=ranks)
    torch.manual_seed(rank)

    def call(length: int) -> None:
        layout = LAYOUTS[options.layout](length)
        held = layout.size(rank, ranks)
        tensors = [torch.randn(1, heads, held, WIDTH, requires_grad=True) for heads in (HEADS, KV_HEADS, KV_HEADS)]
        if options.alone:
            context = regard.attend(*tensors, mask=regard.Causal())
        else:
            context = attend(*tensors, mask=regard.Causal(), layout=layout)
        context.sum().backward()

    call(8 * ranks)  # what is loaded and made once
    dist.barrier()
    began, worked = time.perf_counter(), time.process_time()
    peak = peak_of(lambda: call(options.length))
    found = {"peak": peak, "seconds": time.perf_counter() - began, "work": time.process_time() - worked}
    (options.folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()
    dist.destroy_process_group()


def ran(ranks: int, length: int, layout: str, *, alone: bool) -> list[dict[str, float]]:
    """The figures of every rank."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--folder", folder, "--of", str(ranks), "--length", str(length)]
        command += ["--layout", layout, *(["--alone"] if alone else []), "--rank"]
        # What tensors leave is given back at once, so that what is counted is what is held.
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_MMAP_THRESHOLD_": "131072"}
        running = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(ranks)]
        if any(process.wait() for process in running):
            raise SystemExit("a rank failed")
        return [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--lengths", type=int, nargs="+", default=[8192, 16384])
    parser.add_argument("--layout", choices=list(LAYOUTS), default="zigzag")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--of", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--length", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        one_rank(options)
        return
    torch.set_num_threads(1)
    print(f"{machine()}, {os.cpu_count()} cores, {HEADS} heads of {WIDTH}, float32, causal, {options.layout}\n")
    print("| tokens | ranks | peak of a rank, MB | of one process | seconds | work of all, seconds | of one process |")
    print("|---|---|---|---|---|---|---|")
    for length in options.lengths:
        (alone,) = ran(1, length, options.layout, alone=True)
        row = f"{alone['peak']:,.0f} | 1.00 | {alone['seconds']:.2f} | {alone['work']:.2f} | 1.00"
        print(f"| {length:,} | one process | {row} |", flush=True)
        for ranks in options.ranks:
            found = ran(ranks, length, options.layout, alone=False)
            peak, work = max(one["peak"] for one in found), sum(one["work"] for one in found)
            print(
                f"| {length:,} | {ranks} | {peak:,.0f} | {peak / alone['peak']:.2f} | "
                f"{max(one['seconds'] for one in found):.2f} | {work:.2f} | {work / alone['work']:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
