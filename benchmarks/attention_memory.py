"""Peak memory of attention by length, forward and backward, each in a fresh process: `reference` beside `streamed`.

    python benchmarks/attention_memory.py                         # by length, for three kinds
    python benchmarks/attention_memory.py --every --lengths 32768  # every score and normaliser, on `streamed`

One head; queries and keys of the same number, 64 wide (8 for a network, which reads both of a pair). The figure is what
the process held at its highest beyond what it held with its inputs and their gradients made, in MB; a dash where more
than `--limit` MB would be needed.
"""

import argparse
import ctypes
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from timing import machine

import regard

WIDTH, NARROW, HIDDEN = 64, 8, 4
SCORES: dict[str, Callable[[int], regard.Score]] = {
    "dot": lambda keys: regard.ScaledDot(),
    "general": lambda keys: regard.General(WIDTH),
    "additive": lambda keys: regard.Additive(WIDTH, HIDDEN),
    "cosine": lambda keys: regard.Cosine(),
    "gaussian": lambda keys: regard.Gaussian(4.0),
    "kernel": lambda keys: regard.Kernel(),
    "network": lambda keys: regard.Network(torch.nn.Sequential(torch.nn.Linear(2 * NARROW, 1))),
    "relative keys": lambda keys: regard.RelativeKeys(WIDTH, 16),
    "soft cap": lambda keys: regard.SoftCap(regard.ScaledDot(), 30.0),
    "alibi": lambda keys: regard.ScaledDot() + regard.Alibi(1),
    "relative bias": lambda keys: regard.ScaledDot() + regard.RelativeBias(1),
    "key bias": lambda keys: regard.ScaledDot() + regard.Bias(torch.nn.Parameter(torch.zeros(1, 1, keys))),
}
NORMALIZERS: dict[str, Callable[[], regard.Normalizer]] = {
    "softmax": regard.Softmax,
    "sink": lambda: regard.Softmax(sink=torch.nn.Parameter(torch.zeros(1))),
    "sigmoid": regard.Sigmoid,
    "sparsemax": regard.Sparsemax,
    "entmax15": regard.Entmax15,
    "entmax": lambda: regard.Entmax(torch.nn.Parameter(torch.tensor([1.5]))),
    "top-k": lambda: regard.TopKSoftmax(64),
    "hard": regard.Hard,
}
KINDS = (("dot", "softmax"), ("additive", "softmax"), ("dot", "entmax15"))
RECORD = [regard.TopK(8), regard.Entropy(), regard.Received(), regard.LogSumExp()]


def held(key: str) -> float:
    """What Linux says that this process holds (VmRSS), or held at its highest (VmHWM), in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024


def peak_of(run: Callable[[], object]) -> float:
    """MB that this process holds at its highest in a run, beyond what it held before."""
    ctypes.CDLL(None).malloc_trim(0)
    before = held("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    run()
    return held("VmHWM") - before


def measure(backend: str, score: str, normalize: str, length: int, observed: bool) -> dict[str, float]:
    """One call, forward and backward, in this process."""
    call(backend, score, normalize, 64, observed)()  # what is loaded and set up once is not the call's
    run = call(backend, score, normalize, length, observed)
    Path("/proc/self/clear_refs").write_text("5")  # the highest mark begins anew
    before, start = held("VmRSS"), time.perf_counter()
    run()
    return {"megabytes": held("VmHWM") - before, "seconds": time.perf_counter() - start}


def call(backend: str, score: str, normalize: str, length: int, observed: bool) -> Callable[[], None]:
    """The call, with its inputs made."""
    torch.manual_seed(0)
    width = NARROW if score == "network" else WIDTH
    tensors = [torch.randn(1, 1, length, width, requires_grad=True) for _ in range(3)]
    for tensor in tensors:
        tensor.grad = torch.zeros_like(tensor)
    options = {"score": SCORES[score](length), "normalize": NORMALIZERS[normalize](), "backend": backend}

    def run() -> None:
        if observed:
            context, seen = regard.observe(*tensors, record=RECORD, **options)
            (context.sum() + seen.entropy.sum()).backward()
        else:
            regard.attend(*tensors, **options).sum().backward()

    return run


def fresh(backend: str, score: str, normalize: str, length: int, observed: bool) -> dict[str, float]:
    """`measure` in a process of its own."""
    one = json.dumps([backend, score, normalize, length, observed])
    done = subprocess.run([sys.executable, __file__, "--one", one], capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def fits(backend: str, score: str, length: int, limit: float) -> bool:
    """Whether the materialised call stays under the limit, by the few copies of the matrix that it holds."""
    width = HIDDEN if score == "additive" else 1
    return backend != "reference" or 6 * length**2 * 4 * width / 2**20 < limit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lengths", type=int, nargs="+", default=[1024, 4096, 16384, 65536])
    parser.add_argument("--every", action="store_true", help="every score with softmax, every normaliser with dot")
    parser.add_argument("--only", nargs="+", help="the rows of these scores and normalisers")
    parser.add_argument("--limit", type=float, default=12000.0, help="MB that a call may take (default: %(default)s)")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(*json.loads(options.one))))
        return
    print(machine())
    if options.every:
        kinds = [(score, "softmax") for score in SCORES] + [("dot", normalize) for normalize in NORMALIZERS]
        cases = [("streamed", *kind, False) for kind in dict.fromkeys(kinds)]
    else:
        cases = [
            (backend, *kind, observed)
            for kind in KINDS
            for observed in (False, True)
            for backend in ("reference", "streamed")
        ]
    if options.only:
        cases = [case for case in cases if {case[1], case[2]} & set(options.only)]
    print("| score | normaliser | observed | backend | " + " | ".join(f"{n:,}" for n in options.lengths) + " |")
    print("|---|---|---|---|" + "---|" * len(options.lengths))
    for backend, score, normalize, observed in cases:
        cells = []
        for length in options.lengths:
            if fits(backend, score, length, options.limit):
                found = fresh(backend, score, normalize, length, observed)
                cells.append(f"{found['megabytes']:,.0f} MB, {found['seconds']:.1f} s")
            else:
                cells.append("-")
        shown = "yes" if observed else "no"
        print(f"| {score} | {normalize} | {shown} | {backend} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
