"""`attend` and `observe` on a GPU beside torch's fused attention, flex_attention and the four lines: time and memory.

    python benchmarks/attention_gpu.py

Medians of CUDA events, all rivals of a row interleaved; MB is the peak over what was held before.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import regard
from regard.attention.place import Place

Passes = dict[str, Callable[[], object]]


def tensors_of(batch: int, heads: int, length: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Query, key and value."""
    shape = (batch, heads, length, width)
    return [torch.randn(shape, device="cuda", dtype=dtype, requires_grad=True) for _ in range(3)]


def measured(rivals: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, tuple[float, float]]:
    """Median milliseconds and peak MB of each."""
    spans: dict[str, list[float]] = {name: [] for name in rivals}
    peaks: dict[str, float] = {}
    for number in range(3 + rounds):
        for name, run in rivals.items():
            torch.cuda.reset_peak_memory_stats()
            before = torch.cuda.memory_allocated()
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            run()
            ended.record()
            torch.cuda.synchronize()
            peaks[name] = (torch.cuda.max_memory_allocated() - before) / 2**20
            if number >= 3:
                spans[name].append(began.elapsed_time(ended))
    return {name: (statistics.median(times), peaks[name]) for name, times in spans.items()}


def row(title: str, rivals: Mapping[str, Callable[[], object]], rounds: int) -> None:
    """A line for each, beside the first."""
    found = measured(rivals, rounds)
    first = next(iter(found.values()))[0]
    for name, (milliseconds, megabytes) in found.items():
        print(f"| {title} | {name} | {milliseconds:.3f} | {milliseconds / first:.2f} | {megabytes:.0f} |", flush=True)


def both_ways(attend: Callable[..., Tensor], tensors: list[Tensor]) -> Callable[[], object]:
    gradient = torch.randn_like(tensors[0])
    return lambda: torch.autograd.grad(attend(*tensors), tensors, gradient)


def four_lines(query: Tensor, key: Tensor, value: Tensor, *, hidden: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The context and all weights."""
    scores = query @ key.mT / query.shape[-1] ** 0.5
    if hidden is not None:
        scores = scores.masked_fill(hidden, -torch.inf)
    weights = scores.softmax(-1)
    return weights @ value, weights


def plain(rounds: int, dtype: torch.dtype) -> None:
    """What a call costs over torch's own."""
    for shape in ((8, 8, 128, 64), (4, 16, 2048, 64), (1, 16, 8192, 64)):
        tensors = tensors_of(*shape, dtype)
        for causal in (False, True):
            mask = regard.Causal() if causal else None
            rivals = {
                "attend": lambda q, k, v, mask=mask: regard.attend(q, k, v, mask=mask),
                "torch": lambda q, k, v, causal=causal: functional.scaled_dot_product_attention(
                    q, k, v, is_causal=causal
                ),
            }
            title = f"{', '.join(map(str, shape))}, {'causal, ' if causal else ''}both ways"
            row(title, {name: both_ways(run, tensors) for name, run in rivals.items()}, rounds)


def window(rounds: int, dtype: torch.dtype) -> None:
    """A window of 256 keys."""
    compiled = torch.compile(flex_attention)
    for length in (4096, 16384):
        tensors = tensors_of(1, 8, length, 64, dtype)
        mask = regard.Causal() & regard.Window(255)
        blocks = create_block_mask(
            lambda b, h, i, j: (j <= i) & (i - j < 256), None, None, length, length, device="cuda"
        )
        place = Place(batch=1, heads=8, queries=length, keys=length, device=torch.device("cuda"))
        allowed = mask.allowed(place)
        rivals = {
            "attend": lambda q, k, v, mask=mask: regard.attend(q, k, v, mask=mask),
            "attend, streamed": lambda q, k, v, mask=mask: regard.attend(q, k, v, mask=mask, backend="streamed"),
            "flex_attention": lambda q, k, v, blocks=blocks: compiled(q, k, v, block_mask=blocks),
            "torch, boolean mask": lambda q, k, v, allowed=allowed: functional.scaled_dot_product_attention(
                q, k, v, allowed
            ),
        }
        with torch.no_grad():
            expected = rivals["flex_attention"](*tensors)
            torch.testing.assert_close(rivals["attend"](*tensors), expected, rtol=0.05, atol=0.05)
        title = f"1, 8, {length}, 64, window of 256, both ways"
        row(title, {name: both_ways(run, tensors) for name, run in rivals.items()}, rounds)


def observed(rounds: int, dtype: torch.dtype) -> None:
    """The eight largest weights, entropies and what each key received, beside a matrix of all weights."""
    record = [regard.TopK(8), regard.Entropy(), regard.Received()]
    for length in (2048, 8192, 32768):
        tensors = tensors_of(1, 8, length, 64, dtype)
        hidden = torch.ones(length, length, dtype=torch.bool, device="cuda").triu(1)

        def seen(tensors: list[Tensor] = tensors) -> object:
            with torch.no_grad():
                return regard.observe(*tensors, mask=regard.Causal(), record=record)

        def matrix(tensors: list[Tensor] = tensors, hidden: Tensor = hidden) -> object:
            with torch.no_grad():
                context, weights = four_lines(*tensors, hidden=hidden)
                return context, weights.topk(8), -(weights * weights.clamp_min(1e-30).log()).sum(-1), weights.sum(-2)

        row(f"1, 8, {length}, 64, causal, observed", {"observe": seen, "four lines": matrix}, rounds)


def sparse(rounds: int, dtype: torch.dtype) -> None:
    """Normalisers that torch has none of."""
    for name, normalize in (("entmax 1.5", regard.Entmax15()), ("sigmoid", regard.Sigmoid())):
        tensors = tensors_of(1, 8, 4096, 64, dtype)
        runs = {
            f"attend, {backend}": both_ways(
                lambda q, k, v, backend=backend, normalize=normalize: regard.attend(
                    q, k, v, normalize=normalize, backend=backend
                ),
                tensors,
            )
            for backend in ("streamed", "reference")
        }
        row(f"1, 8, 4096, 64, {name}, both ways", runs, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", default="bfloat16", help="float32, bfloat16, float16")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    dtype = getattr(torch, options.dtype)
    torch.manual_seed(0)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, {options.dtype}, medians of {options.rounds}\n")
    print("| batch, heads, n, d | what | ms | x first | peak MB |\n|---|---|---|---|---|")
    for part in (plain, window, observed, sparse):
        part(options.rounds, dtype)
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
