"""`reference` and `streamed` against `sdpa`: forward and backward by length, at a constant number of tokens.

    python benchmarks/attention_sizes.py

The order in which `auto` prefers backends (`regard.attention.capabilities`) comes from this table.
"""

import torch
from timing import interleaved, machine, median

import regard

TOKENS, HEADS, HEAD_DIM, ROUNDS = 4096, 4, 32, 15


def step(backend: str, length: int, mask: regard.Mask):  # type: ignore[no-untyped-def]
    batch = max(TOKENS // length, 1)
    tensors = [torch.randn(batch, length, HEADS, HEAD_DIM).transpose(1, 2).requires_grad_() for _ in range(3)]
    gradient = torch.randn(batch, length, HEADS, HEAD_DIM).transpose(1, 2)

    def run() -> None:
        regard.attend(*tensors, mask=mask, backend=backend).backward(gradient)

    return run


def main() -> None:
    torch.manual_seed(0)
    print(machine())
    print(f"\n{TOKENS} tokens, {HEADS} heads of {HEAD_DIM}, float32, forward and backward, medians of {ROUNDS}\n")
    print("| length | mask | reference ms | streamed ms | sdpa ms | reference / sdpa | streamed / sdpa |")
    print("|---|---|---|---|---|---|---|")
    for length in (8, 16, 32, 64, 128, 256, 512, 1024, 2048):
        lengths = [max(length - row % 3, 1) for row in range(max(TOKENS // length, 1))]
        for mask in (regard.Causal(), regard.Lengths(lengths)):
            names = ("reference", "streamed", "sdpa")
            times = interleaved({name: step(name, length, mask) for name in names}, rounds=ROUNDS)
            reference, streamed, sdpa = (1e3 * median(times[name]) for name in names)
            print(
                f"| {length} | {type(mask).__name__} | {reference:.2f} | {streamed:.2f} | {sdpa:.2f} | "
                f"{reference / sdpa:.2f} | {streamed / sdpa:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
