"""Attention within boxes: the native kernel beside keys that are laid out for every query and attended to.

    python benchmarks/box_attention.py

Random maps of strides 8, 16 and 32 of pictures of 320x240, random boxes; the layer forward and backward, float32, in
one process, interleaved; medians. Peak memory is that of a step beyond the layer, in fresh processes (Linux).
"""

import argparse
import subprocess
import sys
from unittest.mock import patch

import torch
from attention_memory import peak_of
from timing import interleaved, machine, median

from regard.nn.box_attention import BoxAttention, Cells
from regard.training.machine import keep_memory

SIZES = ((30, 40), (15, 20), (8, 10))
FORMS = ("kernel", "laid out")


class Step:
    """The layer forward and backward, in one of two forms."""

    def __init__(self, form: str, options: argparse.Namespace) -> None:
        torch.manual_seed(1)
        self.native = form == "kernel"
        batch, queries, dim = options.batch, options.queries, options.dim
        self.layer = BoxAttention(dim, options.heads, levels=len(SIZES), points=options.points)
        self.vectors = torch.randn(batch, sum(rows * columns for rows, columns in SIZES), dim, requires_grad=True)
        self.queries = torch.randn(batch, queries, dim, requires_grad=True)
        self.boxes = torch.rand(batch, queries, 4) * torch.tensor((1.0, 1.0, 0.3, 0.3))

    def __call__(self) -> None:
        with patch("regard.nn.box_attention.runs", lambda *tensors: self.native):
            found = self.layer(self.queries, self.boxes, Cells(vectors=self.vectors, sizes=SIZES))
        found.sum().backward()


def peak(step: Step) -> float:
    """MB that a step takes, in this process."""
    step()  # the gradients that stay, and what is loaded once
    return peak_of(step)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"batch": 8, "queries": 280, "dim": 128, "heads": 8, "points": 4, "rounds": 7}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.one:
        print(peak(Step(options.one, options)))
        return
    keep_memory()
    print(machine())
    print(
        f"\n{options.batch} pictures, {options.queries} queries of {options.points}x{options.points} points on "
        f"{len(SIZES)} maps, width {options.dim}, {options.heads} heads. Medians of {options.rounds} rounds.\n"
    )
    times = interleaved({form: Step(form, options) for form in FORMS}, rounds=options.rounds)
    print("| form | seconds | of the kernel's | peak memory, MB |\n|---|---|---|---|")
    for form in FORMS:
        command = [sys.executable, __file__, *sys.argv[1:], "--one", form]
        memory = float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
        seconds = median(times[form])
        print(f"| {form} | {seconds:.4f} | {seconds / median(times['kernel']):.1f}x | {memory:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
