"""Ring attention on paper: what each rank computes, holds and is sent, and how long a layer takes on given hardware.

    python benchmarks/ring_simulator.py                       # the tables of docs/scaling.md
    python benchmarks/ring_simulator.py --check               # small cases beside runs of 1, 2 and 4 processes, counted

A rank's step computes one block of keys while the next travels, so that it takes the longer of the two. The numbers of
pairs follow from the layout by arithmetic on ranges, and share no code with `regard.distributed`; `--check` counts the
pairs and bytes of that, and fails where one differs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

Range = tuple[int, int]


@dataclass(frozen=True)
class Shape:
    """Attention of one layer."""

    heads: int = 32
    kv_heads: int = 8
    width: int = 128
    number: int = 2  # bytes of a number that travels

    @property
    def position(self) -> int:
        """Bytes of a position's key and value."""
        return 2 * self.kv_heads * self.width * self.number


@dataclass(frozen=True)
class Hardware:
    """A device and its link."""

    flops: float = 400e12  # a second, that attention reaches
    link: float = 50e9  # bytes a second, each way
    latency: float = 20e-6  # seconds a message


@dataclass(frozen=True)
class Step:
    """What a rank has to do with the keys of one rank."""

    pairs: int
    keys: int  # that travel to it


def ranges(length: int, rank: int, ranks: int, layout: str) -> list[Range]:
    """The positions of a rank."""

    def piece(number: int, count: int) -> Range:
        longer = length % count  # the first of them are one longer
        edges = [other * (length // count) + min(other, longer) for other in (number, number + 1)]
        return edges[0], edges[1]

    if layout == "contiguous":
        found = [piece(rank, ranks)]
    else:
        found = [piece(rank, 2 * ranks), piece(2 * ranks - 1 - rank, 2 * ranks)]
    return [(low, high) for low, high in found if low < high]


def pairs(queries: Range, keys: Range, window: int | None) -> int:
    """How many keys the queries of a range see among a range of keys, causally, and at most `window` before."""
    (first, last), (low, high) = queries, keys

    def until(end: int, back: int) -> int:
        """Pairs whose key is below `end` and `back` or more before the query: query i sees those up to i - back."""
        lower, upper = max(first - back, 0), max(last - back, 0)
        whole = max(upper - max(lower, end - 1), 0) * end  # queries that see all of them
        stop = min(upper, end - 1)  # the others see one more each
        return whole + ((lower + 1 + stop) * (stop - lower) // 2 if stop > lower else 0)

    seen = until(high, 0) - until(low, 0)
    return seen if window is None else seen - (until(high, window + 1) - until(low, window + 1))


def steps(length: int, rank: int, ranks: int, layout: str, window: int | None) -> Iterator[Step]:
    """What a rank computes, from its own keys to those of the rank after it."""
    own = ranges(length, rank, ranks, layout)
    for step in range(ranks):
        held = ranges(length, (rank - step) % ranks, ranks, layout)
        count = sum(pairs(one, other, window) for one in own for other in held)
        yield Step(count, sum(high - low for low, high in held) if count else 0)


def seconds(
    shape: Shape, hardware: Hardware, length: int, ranks: int, layout: str, window: int | None
) -> Iterator[float]:
    """How long a forward pass takes: with everything, computing alone, communication alone."""
    totals, computing, travelling = [], [], []
    some = sorted({*range(0, ranks, max(1, ranks // 16)), ranks - 1})  # of many ranks a few are as good
    for rank in some:
        work, travel = [], []
        for step in steps(length, rank, ranks, layout, window):
            work.append(4 * step.pairs * shape.heads * shape.width / hardware.flops)
            travel.append(hardware.latency + step.keys * shape.position / hardware.link if step.keys else 0.0)
        totals.append(sum(max(now, coming) for now, coming in zip(work, [*travel[1:], 0.0], strict=True)))
        computing.append(sum(work))
        travelling.append(sum(travel[1:]))
    yield from (max(totals), max(computing), max(travelling))


def tables() -> None:
    shape, fast, slow = Shape(), Hardware(link=450e9, latency=5e-6), Hardware()
    print(f"Shape: {shape.heads} heads on {shape.kv_heads}, {shape.width} wide, {shape.number} bytes a number.")
    print(f"Device: {slow.flops / 1e12:.0f} TFLOP/s; links {slow.link / 1e9:.0f} and {fast.link / 1e9:.0f} GB/s.\n")
    print(
        "| tokens | ranks | layout | mask | keys and values a rank, MB | received, MB | forward, ms | of it computing |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for length in (131_072, 1_048_576):
        for ranks in (8, 64, 256, 1024):
            for layout, window in (("contiguous", None), ("zigzag", None), ("contiguous", 4096)):
                held = 3 * shape.position * -(-length // ranks) / 2**20
                worst = max(
                    sum(step.keys for step in list(steps(length, rank, ranks, layout, window))[1:])
                    for rank in (0, ranks // 2, ranks - 1)
                )
                mask = "causal" if window is None else f"window of {window:,}"
                cells = []
                for hardware in (slow, fast):
                    total, computing, _ = seconds(shape, hardware, length, ranks, layout, window)
                    cells.append((f"{1e3 * total:,.2f}", f"{computing / total:.0%}"))
                received = worst * shape.position / 2**20
                print(
                    f"| {length:,} | {ranks:,} | {layout} | {mask} | {held:,.1f} | {received:,.1f} | "
                    f"{' / '.join(cell[0] for cell in cells)} | {' / '.join(cell[1] for cell in cells)} |",
                    flush=True,
                )


CASES = [
    (length, layout, window)
    for length in (64, 61, 7)
    for layout in ("contiguous", "zigzag")
    for window in (None, 5, 23)
]


def check() -> None:
    """Runs of processes, counted, beside the same on paper."""
    shape = Shape(heads=4, kv_heads=2, width=8, number=4)
    print("| ranks | tokens | layout | window | pairs of each rank | keys received | equal to what was run |")
    print("|---|---|---|---|---|---|---|")
    wrong = 0
    for ranks in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder:
            environment = {**os.environ, "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, "--folder", folder, "--ranks", str(ranks), "--rank"]
            running = [subprocess.Popen([*command, str(rank)], env=environment) for rank in range(ranks)]
            assert [process.wait() for process in running] == [0] * ranks
            counted = [json.loads((Path(folder) / f"{rank}.json").read_text()) for rank in range(ranks)]
        for number, (length, layout, window) in enumerate(CASES):
            paper = [list(steps(length, rank, ranks, layout, window)) for rank in range(ranks)]
            expected = [
                [sum(step.pairs for step in one), sum(step.keys for step in one[1:]) * shape.position] for one in paper
            ]
            found = [one[number] for one in counted]
            wrong += found != expected
            print(
                f"| {ranks} | {length} | {layout} | {window or '-'} | {', '.join(str(one[0]) for one in expected)} | "
                f"{', '.join(str(one[1] // shape.position) for one in expected)} | "
                f"{'yes' if found == expected else f'no: {found}'} |"
            )
    if wrong:
        raise SystemExit(f"{wrong} cases differ")


def counted(rank: int, ranks: int, folder: Path) -> None:
    """One rank of `--check`: the pairs and bytes of each case, as they come by."""
    import torch
    import torch.distributed as dist

    import regard
    from regard.distributed import Contiguous, ZigZag, attend, shard
    from regard.distributed.blocks import Block
    from regard.distributed.ring import Ring

    dist.init_process_group("gloo", init_method=f"file://{folder / 'store'}", rank=rank, world_size=ranks)
    counts = [0, 0]
    forward, exchange = Block.forward, Ring._exchange

    def counting(block: Block):  # type: ignore[no-untyped-def]
        mask = block.call.lowered_mask
        counts[0] += int(mask.allowed.expand(1, 1, mask.place.queries, -1).sum()) if mask is not None else 0
        return forward(block)

    def weighing(ring: Ring, sent, to, received, source, tag):  # type: ignore[no-untyped-def]
        counts[1] += sum(tensor.numel() * tensor.element_size() for tensor in received)
        return exchange(ring, sent, to, received, source, tag)

    Block.forward, Ring._exchange = counting, weighing  # type: ignore[method-assign]
    found = []
    for length, name, window in CASES:
        layout = Contiguous(length) if name == "contiguous" else ZigZag(length)
        mask = regard.Causal() if window is None else regard.Causal() & regard.Window(window)
        tensors = [shard(torch.randn(1, heads, length, 8), layout) for heads in (4, 2, 2)]
        counts[:] = [0, 0]
        attend(*tensors, layout=layout, mask=mask)
        found.append(list(counts))
    (folder / f"{rank}.json").write_text(json.dumps(found))
    dist.barrier()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="count runs of processes, and compare")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--ranks", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank is not None:
        counted(options.rank, options.ranks, options.folder)
    elif options.check:
        check()
    else:
        tables()


if __name__ == "__main__":
    main()
