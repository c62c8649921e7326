"""`benchmarks/attention.py --decode`: one new query against 16,384 keys, beside torch's fused attention."""

import time
from collections.abc import Callable
from itertools import product

import torch
from timing import interleaved, median
from torch import Tensor
from torch.nn import functional

import regard

KEYS = 16384
CALLS = {  # heads, kv_heads, width, and the keys of each batch row
    "1 row, 8 heads of 64": (8, 8, 64, [KEYS]),
    "1 row, 32 heads on 8 of 128": (32, 8, 128, [KEYS]),
    "4 rows of several lengths, 8 heads of 64": (8, 8, 64, [KEYS, 11003, 5000, 701]),
}


def bandwidth() -> float:
    """Bytes a second at which a sum of 512 MB of floats reads them, the best of ten."""
    numbers, best = torch.ones(2**27), 0.0
    for _ in range(10):
        began = time.perf_counter()
        numbers.sum()
        best = max(best, 4 * len(numbers) / (time.perf_counter() - began))
    return best


def paged(key: Tensor, value: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same keys and values in pages of `size`, shuffled, and the table."""
    rows, heads, keys, width = key.shape
    table = torch.randperm(rows * keys // size)
    pools = []
    for tensor in (key, value):
        pages = tensor.view(rows, heads, -1, size, width).transpose(1, 2).reshape(-1, heads, size, width)
        pools.append(pages[table.argsort()].contiguous())
    return pools[0], pools[1], table.view(rows, -1).int()


def decode(rounds: int) -> None:
    """Bandwidth is that of the keys and values that are to be read, which a ragged batch's torch call reads all."""
    fastest = bandwidth()
    print(f"\n{torch.get_num_threads()} threads, {KEYS:,} keys, medians of {rounds}", end="; ")
    print(f"a sum reads {fastest / 1e9:.1f} GB/s\n")
    print("| dtype | call | keys in | ms | GB/s (of a sum's) | x sdpa |\n|---|---|---|---|---|---|")
    for dtype, (name, (heads, kv_heads, width, counts)) in product((torch.float32, torch.bfloat16), CALLS.items()):
        query = torch.randn(len(counts), heads, 1, width).to(dtype)
        key, value = torch.randn(2, len(counts), kv_heads, KEYS, width).to(dtype).unbind()
        lengths = torch.tensor(counts)
        allowed = None if len(counts) == 1 else (torch.arange(KEYS) < lengths[:, None])[:, None, None]
        rivals: dict[str, Callable[[], Tensor]] = {
            "sdpa": lambda q=query, k=key, v=value, mask=allowed: functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, enable_gqa=True
            ),
            "one tensor": lambda q=query, k=key, v=value, n=lengths: regard.decode(q, k, v, lengths=n),
        }
        for size in (16, 64):
            pages = paged(key, value, size)
            rivals[f"pages of {size}"] = lambda q=query, n=lengths, pages=pages: regard.decode(
                q, *pages[:2], lengths=n, table=pages[2]
            )
        with torch.no_grad():
            found = {which: median(times) for which, times in interleaved(rivals, rounds=rounds).items()}
        size = 2 * sum(counts) * kv_heads * width * dtype.itemsize
        for which, seconds in found.items():
            rate = size / seconds
            print(
                f"| {str(dtype).removeprefix('torch.')} | {name} | {which} | {1e3 * seconds:.2f} | "
                f"{rate / 1e9:.1f} ({rate / fastest:.0%}) | {found['sdpa'] / seconds:.2f} |",
                flush=True,
            )
