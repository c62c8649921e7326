"""What the cases of ranks are made of: tensors and masks, the comparison with one process, and running them all."""

import json
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

import regard
import regard.distributed as spread
from regard.distributed import Contiguous, Layout, ZigZag

CASES: dict[str, Callable[[], None]] = {}
LENGTH = 29


def case(check: Callable[[], None]) -> Callable[[], None]:
    CASES[check.__name__] = check
    return check


def layouts(length: int = LENGTH) -> list[Layout]:
    """One with an empty rank, and a last one with most, among them."""
    ranks = dist.get_world_size()
    few = [length // (2 * ranks), 0, *[1] * (ranks - 2)][: ranks - 1]
    return [Contiguous(length), ZigZag(length), Contiguous(length, (*few, length - sum(few)))]


def masks() -> dict[str, regard.Mask | None]:
    causal = regard.Causal()
    return {
        "none": None,
        "causal": causal,
        "window": causal & regard.Window(7),
        "both sides": regard.Window(3, 5),
        "prefix": causal | regard.Prefix(5),
        "lengths": regard.Lengths([29, 11]),
        "left padding": causal & regard.Lengths([29, 13], start=[0, 16]),
        "documents": causal & regard.Documents([5, 17, 7]),
        "documents by row": regard.Documents([[5, 17, 7], [13, 16, 0]]),
        "global": regard.Window(4) | regard.Global(2),
        "outside": ~regard.Window(6),
        "three intervals": regard.Prefix(2) | regard.Window(2) | ~regard.Prefix(26),
        "nothing": regard.Prefix(0),
    }


def tensors(
    *, queries: int = LENGTH, keys: int = LENGTH, dtype: torch.dtype = torch.float64, seed: int = 1
) -> list[Tensor]:
    """Query, key, value of grouped heads, the values of another width, and a gradient of the context."""
    generator = torch.Generator().manual_seed(seed)
    shapes = ((2, 4, queries, 8), (2, 2, keys, 8), (2, 2, keys, 6), (2, 4, queries, 6))
    return [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]


def leaves(given: list[Tensor], layout: Layout | None = None, key_layout: Layout | None = None) -> list[Tensor]:
    """Query, key and value that gradients are asked of: whole, or what this rank holds."""
    if layout is not None:
        places = (layout, key_layout or layout, key_layout or layout)
        given = [spread.shard(tensor, its) for tensor, its in zip(given[:3], places, strict=True)]
    return [tensor.clone().requires_grad_() for tensor in given[:3]]


def near(found: Tensor, expected: Tensor, what: str = "", tolerance: float = 1e-10) -> None:
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance, msg=lambda text: f"{what}: {text}")


def same_as_one_process(
    layout: Layout,
    *,
    dtype: torch.dtype = torch.float64,
    tolerance: float = 1e-10,
    key_layout: Any = None,
    **options: Any,
) -> None:
    """Context and gradients of the ranks are those of one process."""
    queries, keys = layout.length, (key_layout or layout).length
    given = tensors(queries=queries, keys=keys, dtype=dtype)
    whole, own = leaves(given), leaves(given, layout, key_layout)
    expected = regard.attend(*whole, **options)
    expected.backward(given[3])
    found = spread.attend(*own, layout=layout, key_layout=key_layout, **options)
    found.backward(spread.shard(given[3], layout))
    near(found, spread.shard(expected, layout), "context", tolerance)
    for name, one, all_, its in zip(
        ("query", "key", "value"), own, whole, (layout, key_layout or layout, key_layout or layout), strict=True
    ):
        assert one.grad is not None
        assert all_.grad is not None
        near(one.grad, spread.shard(all_.grad, its), f"gradient of {name}", tolerance)


def error_of(action: Callable[[], object], kind: type[Exception] = ValueError) -> str:
    try:
        action()
    except kind as error:
        return str(error)
    raise AssertionError("there was no error")


def main() -> None:
    rank, ranks, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=ranks)
    found = {}
    for name, check in CASES.items():
        try:
            check()
            found[name] = ""
        except Exception:
            found[name] = traceback.format_exc()
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.barrier()
    dist.destroy_process_group()
