"""The native kernels against torch's fused attention: forward, and forward and backward, both sides in one run.

    python benchmarks/attention.py                                # the shapes of the report, on one thread and on two
    python benchmarks/attention.py --flex                         # windows and documents, beside flex_attention
    python benchmarks/attention.py --window --picture window.png  # a window of 256 keys, by length
    python benchmarks/attention.py --calls                        # what a call costs that computes next to nothing
    python benchmarks/attention.py --additive                     # Bahdanau's score, beside eager and torch.compile
    python benchmarks/attention.py --decode                       # one new query against 16,384 keys, and pages of them

GF/s are useful operations: 4 n m d a head forward and 14 forward and backward, of causal masks half. "of peak" is
beside what multiply-add reaches in registers alone, measured in the same run.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from itertools import product

import torch
from attention_decode import decode
from timing import interleaved, machine, median
from torch import Tensor
from torch.nn import functional

import regard
from regard.ops import native
from regard.ops.additive import additive_attention
from regard.ops.attention import TYPES

SHAPES = [
    *product([1], [8], [512, 2048], [32, 64, 128]),
    (4, 8, 512, 64),
    (8, 8, 128, 64),
    (64, 4, 32, 32),
    (64, 4, 20, 32),
]


def tensors_of(batch: int, heads: int, length: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Query, key, value and a gradient, laid out as a layer's projections are."""
    return [torch.randn(batch, length, heads, width).to(dtype).transpose(1, 2) for _ in range(4)]


def passes(attend: Callable[..., Tensor], tensors: list[Tensor], *, backward: bool) -> Callable[[], object]:
    """Forward, or forward and backward."""
    query, key, value, gradient = tensors
    if not backward:

        def forward() -> Tensor:
            with torch.no_grad():
                return attend(query, key, value)

        return forward
    leaves = [tensor.detach().requires_grad_() for tensor in (query, key, value)]
    return lambda: torch.autograd.grad(attend(*leaves), leaves, gradient)


def repeated(run: Callable[[], object], times: int) -> Callable[[], None]:
    def several() -> None:
        for _ in range(times):
            run()

    return several


def eager(query: Tensor, key: Tensor, value: Tensor, *, causal: bool) -> Tensor:
    """The four lines."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if causal:
        scores = scores.masked_fill(torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1), -torch.inf)
    return scores.softmax(-1) @ value


def peak(threads: int, dtype: torch.dtype) -> float:
    """GF/s of multiply-add in registers, of pairs of bfloat16 where the processor has that."""
    found = 0.0
    for _ in range(5):
        began = time.perf_counter()
        operations = native.module().multiply_add(TYPES[dtype], threads, 20_000_000)
        found = max(found, operations / (time.perf_counter() - began) / 1e9)
    return found


def shapes(rounds: int, dtype: torch.dtype) -> None:
    threads, best = torch.get_num_threads(), peak(torch.get_num_threads(), dtype)
    print(f"\n{threads} threads, {dtype}, medians of {rounds}; multiply-add in registers: {best:.0f} GF/s\n")
    print("| batch, heads, n, d | mask | pass | native ms | GF/s (of peak) | x sdpa | x eager |")
    print("|---|---|---|---|---|---|---|")
    for shape, causal, backward in product(SHAPES, (False, True), (False, True)):
        batch, heads, length, width = shape
        tensors = tensors_of(*shape, dtype)
        mask = regard.Causal() if causal else None
        operations = (14 if backward else 4) * batch * heads * length**2 * width / (2 if causal else 1)
        rivals: dict[str, Callable[..., Tensor]] = {
            "native": lambda q, k, v, mask=mask: regard.attend(q, k, v, mask=mask, backend="native"),
            "sdpa": lambda q, k, v, causal=causal: functional.scaled_dot_product_attention(q, k, v, is_causal=causal),
            "eager": lambda q, k, v, causal=causal: eager(q, k, v, causal=causal),
        }
        times = max(1, round(1e8 * threads / operations))
        runs = {name: repeated(passes(attend, tensors, backward=backward), times) for name, attend in rivals.items()}
        found = {name: median(all_) / times for name, all_ in interleaved(runs, rounds=rounds).items()}
        rate = operations / found["native"] / 1e9
        print(
            f"| {', '.join(map(str, shape))} | {'causal' if causal else '-'} | {'fwd+bwd' if backward else 'fwd'} | "
            f"{1e3 * found['native']:.3f} | {rate:.0f} ({rate / best:.0%}) | {found['sdpa'] / found['native']:.2f} | "
            f"{found['eager'] / found['native']:.2f} |",
            flush=True,
        )


def flex(rounds: int) -> None:
    """Forward alone: on a CPU compiled flex_attention has no backward pass."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    batch, heads, length, width = 1, 8, 2048, 64
    compiled = torch.compile(flex_attention)
    query, key, value, _ = (tensor.contiguous() for tensor in tensors_of(batch, heads, length, width, torch.float32))
    sizes = [300, 700, 48, 500, 500]
    document = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    masks = {
        "window of 256": (regard.Causal() & regard.Window(255), lambda b, h, i, j: (j <= i) & (i - j < 256)),
        "documents": (regard.Documents([sizes]), lambda b, h, i, j: document[i] == document[j]),
    }
    print(f"\n{torch.get_num_threads()} threads, {batch, heads, length, width}, float32, forward\n")
    print("| mask | native ms | x flex_attention (compiled) | x sdpa (boolean mask) |\n|---|---|---|---|")
    for name, (mask, rule) in masks.items():
        blocks = create_block_mask(rule, None, None, length, length, device="cpu")
        allowed = mask.allowed(regard.attention.place.Place(batch=batch, heads=heads, queries=length, keys=length))
        runs = {
            "native": lambda mask=mask: regard.attend(query, key, value, mask=mask, backend="native"),
            "flex": lambda blocks=blocks: compiled(query, key, value, block_mask=blocks),
            "sdpa": lambda allowed=allowed: functional.scaled_dot_product_attention(query, key, value, allowed),
        }
        with torch.no_grad():
            torch.testing.assert_close(runs["native"](), runs["flex"](), rtol=1e-4, atol=1e-4)
            found = {which: median(all_) for which, all_ in interleaved(runs, rounds=rounds).items()}
        ratios = " | ".join(f"{found[which] / found['native']:.2f}" for which in ("flex", "sdpa"))
        print(f"| {name} | {1e3 * found['native']:.2f} | {ratios} |", flush=True)


def window(rounds: int, picture: str | None) -> None:
    """Time by length, one head."""
    lengths, milliseconds = [2**power for power in range(10, 18)], []
    print(f"\n{torch.get_num_threads()} threads, one head of 64, a window of 256, float32, forward and backward\n")
    print("| n | ms | microseconds a query |\n|---|---|---|")
    for length in lengths:
        mask = regard.Causal() & regard.Window(255)
        run = passes(
            lambda q, k, v, mask=mask: regard.attend(q, k, v, mask=mask, backend="native"),
            tensors_of(1, 1, length, 64, torch.float32),
            backward=True,
        )
        milliseconds.append(1e3 * median(interleaved({"native": run}, rounds=rounds)["native"]))
        print(f"| {length:,} | {milliseconds[-1]:.2f} | {1e3 * milliseconds[-1] / length:.2f} |", flush=True)
    if picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6, 4), facecolor="white", layout="constrained")
        axes = figure.subplots()
        axes.loglog(lengths, milliseconds, marker="o", color="#2a6f97", label="measured")
        axes.loglog(lengths, [milliseconds[0] * n / lengths[0] for n in lengths], ":", color="#6b7280", label="linear")
        axes.set(xlabel="queries and keys", ylabel="ms, forward and backward", title="a window of 256 keys")
        axes.legend(frameon=False)
        figure.savefig(picture, dpi=110)


def additive(rounds: int) -> None:
    """Of projected queries and keys, and of whole calls with the projections."""
    hidden = 256
    print(f"\n{torch.get_num_threads()} threads, one head, hidden {hidden}, float32, medians of {rounds}\n")
    print("| batch, n | what | pass | native ms | x eager | x torch.compile |\n|---|---|---|---|---|---|")
    for (batch, length), whole, backward in product([(8, 64), (1, 512)], (False, True), (False, True)):
        score = regard.Additive(64, hidden)
        weights: list[Tensor] = list(score.parameters())

        def fused(
            query: Tensor, key: Tensor, value: Tensor, *_: Tensor, whole: bool = whole, score: regard.Additive = score
        ) -> Tensor:
            if whole:
                return regard.attend(query, key, value, score=score, backend="native")
            return additive_attention(query, key, value, score.weight, None, 1.0, 0.0, 0)[0]

        def broadcast(
            query: Tensor, key: Tensor, value: Tensor, *_: Tensor, whole: bool = whole, score: regard.Additive = score
        ) -> Tensor:
            if whole:
                query, key = query @ score.query_weight, key @ score.key_weight
            scores = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3)) @ score.weight[0]
            return scores.softmax(-1) @ value

        torch.compiler.reset()
        rivals = {"native": fused, "eager": broadcast, "compiled": torch.compile(broadcast)}
        widths = (64, 64, 64) if whole else (hidden, hidden, 64)
        leaves = [torch.randn(batch, 1, length, width, requires_grad=True) for width in widths]
        learned = weights if whole else [score.weight]
        gradient = torch.randn(batch, 1, length, 64)

        def run(
            attend: Callable[..., Tensor],
            leaves: list[Tensor] = leaves,
            learned: list[Tensor] = learned,
            gradient: Tensor = gradient,
            backward: bool = backward,
        ) -> object:
            if backward:
                return torch.autograd.grad(attend(*leaves), [*leaves, *learned], gradient)
            with torch.no_grad():
                return attend(*leaves)

        runs = {name: partial(run, attend) for name, attend in rivals.items()}
        found = {name: 1e3 * median(times) for name, times in interleaved(runs, rounds=rounds).items()}
        what, which = "with projections" if whole else "projected", "fwd+bwd" if backward else "fwd"
        ratios = " | ".join(f"{found[name] / found['native']:.1f}" for name in ("eager", "compiled"))
        print(f"| {batch}, {length} | {what} | {which} | {found['native']:.2f} | {ratios} |", flush=True)


def calls(rounds: int) -> None:
    """(1, 2, 8, 16): what remains is the call."""
    tensors, times = tensors_of(1, 2, 8, 16, torch.float32), 500
    padding = regard.Lengths([5])
    allowed = (torch.arange(8) < 5).view(1, 1, 1, 8)
    kinds = {
        "no mask": (None, {}),
        "causal": (regard.Causal(), {"is_causal": True}),
        "lengths": (padding, {"attn_mask": allowed}),
    }
    print("\n| mask | pass | native microseconds | sdpa microseconds | native / sdpa |\n|---|---|---|---|---|")
    for (name, (mask, options)), backward in product(kinds.items(), (False, True)):
        rivals: dict[str, Callable[..., Tensor]] = {
            "native": lambda q, k, v, mask=mask: regard.attend(q, k, v, mask=mask),
            "sdpa": lambda q, k, v, options=options: functional.scaled_dot_product_attention(q, k, v, **options),
        }
        runs = {which: repeated(passes(attend, tensors, backward=backward), times) for which, attend in rivals.items()}
        found = {which: 1e6 * median(all_) / times for which, all_ in interleaved(runs, rounds=rounds).items()}
        print(
            f"| {name} | {'fwd+bwd' if backward else 'fwd'} | {found['native']:.1f} | {found['sdpa']:.1f} | "
            f"{found['native'] / found['sdpa']:.2f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", default=["float32"], help="float32, bfloat16")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--flex", action="store_true")
    parser.add_argument("--window", action="store_true")
    parser.add_argument("--calls", action="store_true")
    parser.add_argument("--additive", action="store_true")
    parser.add_argument("--decode", action="store_true")
    parser.add_argument("--picture", help="a PNG file for --window")
    options = parser.parse_args()
    print(f"{machine()}, kernels {native.in_use()}")
    for threads in options.threads:
        torch.set_num_threads(threads)
        torch.manual_seed(0)
        if options.flex:
            flex(options.rounds)
        elif options.window:
            window(options.rounds, options.picture)
        elif options.calls:
            calls(options.rounds)
        elif options.additive:
            additive(options.rounds)
        elif options.decode:
            decode(options.rounds)
        else:
            for dtype in options.dtypes:
                shapes(options.rounds, getattr(torch, dtype))


if __name__ == "__main__":
    main()
