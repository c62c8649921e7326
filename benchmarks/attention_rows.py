"""The kernels that keep rows of weights: sparse normalisers, biases and observations, each beside its rivals.

python benchmarks/attention_rows.py sparse    # sparsemax and 1.5-entmax, beside the entmax package
python benchmarks/attention_rows.py terms     # T5's bias and ALiBi with gradients, beside sdpa with a mask, and eager
python benchmarks/attention_rows.py observe   # what recording costs, and the memory that it takes at 65,536 keys
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from attention import passes, tensors_of
from attention_memory import held
from timing import interleaved, machine, median
from torch import Tensor
from torch.nn import functional

import regard
from regard.ops import native

LONG = 65_536
RECORD = [regard.TopK(8), regard.Entropy(), regard.Received(), regard.Pooled(64, 64)]


def sparse(rounds: int) -> None:
    """Beside the `entmax` package on materialised scores: its full sort, and the partial one of the 100 highest."""
    import entmax

    shape = (1, 8, 2048, 64)
    tensors = tensors_of(*shape, torch.float32)
    print(f"\n{torch.get_num_threads()} threads, {shape}, float32, medians of {rounds}\n")
    print("| normaliser | pass | native ms | x softmax on native | x package | x package, k=100 |")
    print("|---|---|---|---|---|---|")
    kinds = ((regard.Sparsemax(), entmax.sparsemax), (regard.Entmax15(), entmax.entmax15))
    for (normalize, package), backward in product(kinds, (False, True)):

        def packaged(
            query: Tensor, key: Tensor, value: Tensor, k: int | None, package: Callable[..., Tensor] = package
        ) -> Tensor:
            found: Tensor = package(query @ key.mT / shape[-1] ** 0.5, dim=-1, k=k) @ value
            return found

        rivals: dict[str, Callable[..., Tensor]] = {
            "native": lambda q, k, v, normalize=normalize: regard.attend(
                q, k, v, normalize=normalize, backend="native"
            ),
            "softmax": lambda q, k, v: regard.attend(q, k, v, backend="native"),
            "sorted": partial(packaged, k=None),
            "partly": partial(packaged, k=100),
        }
        runs = {name: passes(attend, tensors, backward=backward) for name, attend in rivals.items()}
        found = {name: median(times) for name, times in interleaved(runs, rounds=rounds, warmup=1).items()}
        ratios = " | ".join(f"{found[name] / found['native']:.1f}" for name in ("softmax", "sorted", "partly"))
        which = "fwd+bwd" if backward else "fwd"
        print(f"| {normalize!r} | {which} | {1e3 * found['native']:.1f} | {ratios} |", flush=True)


def terms(rounds: int) -> None:
    """Of T5's bias rivals make the mask anew, as a training step does; that of ALiBi is there already."""
    print(f"\n{torch.get_num_threads()} threads, float32, medians of {rounds}, forward and backward\n")
    print("| shape | term | native ms | x sdpa with a mask | x eager |\n|---|---|---|---|---|")
    for (batch, heads, length, width), kind in product(
        ((1, 8, 512, 64), (1, 8, 2048, 64), (8, 8, 128, 64)), ("T5", "ALiBi")
    ):
        query, key, value, gradient = tensors_of(batch, heads, length, width, torch.float32)
        leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
        relative, alibi = regard.RelativeBias(heads), regard.Alibi(heads)
        term = relative if kind == "T5" else alibi
        score = regard.ScaledDot() + term
        learned = [relative.weight] if kind == "T5" else []
        distance = torch.arange(length) - torch.arange(length).view(-1, 1)
        buckets, slopes = regard.T5Buckets().of(distance), -alibi.slopes.view(-1, 1, 1) * distance.abs()

        def dense(
            buckets: Tensor = buckets, slopes: Tensor = slopes, kind: str = kind, weight: Tensor = relative.weight
        ) -> Tensor:
            return functional.embedding(buckets, weight.T).permute(2, 0, 1) if kind == "T5" else slopes

        def eager(
            query: Tensor, key: Tensor, value: Tensor, dense: Callable[[], Tensor] = dense, width: int = width
        ) -> Tensor:
            return torch.softmax(query @ key.mT / width**0.5 + dense(), -1) @ value

        def masked(query: Tensor, key: Tensor, value: Tensor, dense: Callable[[], Tensor] = dense) -> Tensor:
            return functional.scaled_dot_product_attention(query, key, value, attn_mask=dense().unsqueeze(0))

        rivals: dict[str, Callable[..., Tensor]] = {
            "native": lambda q, k, v, score=score: regard.attend(q, k, v, score=score, backend="native"),
            "masked": masked,
            "eager": eager,
        }

        def run(
            attend: Callable[..., Tensor],
            leaves: list[Tensor] = leaves,
            learned: list[Tensor] = learned,
            gradient: Tensor = gradient,
        ) -> object:
            return torch.autograd.grad(attend(*leaves), [*leaves, *learned], gradient)

        runs = {name: partial(run, attend) for name, attend in rivals.items()}
        found = {name: median(times) for name, times in interleaved(runs, rounds=rounds, warmup=1).items()}
        ratios = " | ".join(f"{found[name] / found['native']:.2f}" for name in ("masked", "eager"))
        print(f"| {batch}, {heads}, {length}, {width} | {kind} | {1e3 * found['native']:.1f} | {ratios} |", flush=True)


def observe(rounds: int) -> None:
    """Beside the plain fused forward, together and one by one."""
    shape = (1, 8, 2048, 64)
    query, key, value, _ = tensors_of(*shape, torch.float32)
    kinds: dict[str, list[regard.Observation]] = {"all four": RECORD, **{repr(item): [item] for item in RECORD}}
    for mask in (None, regard.Causal()):
        print(f"\n{torch.get_num_threads()} threads, {shape}, float32, mask {mask}, medians of {rounds}\n")
        print("| recorded | ms | x plain forward |\n|---|---|---|")
        runs: dict[str, Callable[[], object]] = {
            name: lambda record=record, mask=mask: regard.observe(
                query, key, value, mask=mask, record=record, backend="native"
            )
            for name, record in kinds.items()
        }
        runs["nothing"] = lambda mask=mask: regard.attend(query, key, value, mask=mask, backend="native")
        with torch.no_grad():
            found = {name: median(times) for name, times in interleaved(runs, rounds=rounds).items()}
        for name in ("nothing", *kinds):
            print(f"| {name} | {1e3 * found[name]:.1f} | {found[name] / found['nothing']:.2f} |", flush=True)


def memory() -> None:
    """One head of 65,536 queries and keys, in a fresh process: what it held beyond its inputs."""
    query, key, value = torch.randn(3, 1, 1, LONG, 64)
    small = query[:, :, :64]
    with torch.no_grad():
        regard.observe(small, small, small, record=RECORD, backend="native")
        before = held("VmRSS")
        regard.observe(query, key, value, record=RECORD, backend="native")
    print(f"{held('VmHWM') - before:.0f} MB beside the inputs, {torch.get_num_threads()} threads, {LONG:,} keys")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("sparse", "terms", "observe", "memory"))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    print(f"{machine()}, kernels {native.in_use()}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        {"sparse": sparse, "terms": terms, "observe": observe}.get(options.what, lambda _: memory())(options.rounds)
    if options.what == "observe":
        line = [sys.executable, __file__, "memory", "--threads", str(options.threads[-1])]
        print(subprocess.run(line, check=True, capture_output=True, text=True, env=os.environ).stdout)


if __name__ == "__main__":
    main()
