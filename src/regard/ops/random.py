"""Counter-based random numbers: the same weights are dropped on every backend and for every block size.

The contract that all backends share: a call draws one 64-bit `seed` from torch's generator, and the weight of
(batch b, query head h, query i, key j) is kept if and only if `bits(seed, b, h, i, j) >= round(dropout * 2^32)`,

    low, high = the halves of seed;  row = mix((mix((mix(low ^ b) + h) ^ high) + i)
    bits      = mix(mix(j ^ mix(row)) + row)

all in unsigned 32-bit arithmetic, where `mix` is the 32-bit finaliser "lowbias32" (C. Wellons, hash-prospector,
2018). A kernel computes `row` once a query and two `mix` a weight; nothing depends on the order of work. Dropout of
features (`regard.ops.residual`) is the same with b = h = 0, i the row and j the feature.
"""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

_WORD = 0xFFFFFFFF


def draw_seed() -> int:
    """One 64-bit seed from torch's default (CPU) generator, so that `torch.manual_seed` decides it."""
    seed = torch.randint(-(2**63), 2**63 - 1, (), dtype=torch.int64)
    if torch.compiler.is_compiling():  # a graph knows no number: the tensor stands for it
        return seed  # type: ignore[return-value]
    return int(seed)


def mix(x: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    """The finaliser, on 32-bit words held in int64: products wrap, and only their low 32 bits are kept."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _WORD
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _WORD
    return x ^ (x >> 16)


def bits(
    seed: int,
    batch: Int[Tensor, "..."],
    head: Int[Tensor, "..."],
    query: Int[Tensor, "..."],
    key: Int[Tensor, "..."],
) -> Int[Tensor, "..."]:
    """32 random bits (as int64 in [0, 2^32)) for each place; the four index tensors broadcast."""
    if torch.compiler.is_compiling():
        # The first graph registers the operator, and not `import regard`, which it would slow down.
        from regard.ops.random_graph import bits_operator

        return bits_operator(seed, batch, head, query, key)
    low, high = seed & _WORD, (seed >> 32) & _WORD
    row = mix((mix((mix(low ^ batch) + head) & _WORD ^ high) + query) & _WORD)
    return mix((mix(key ^ mix(row)) + row) & _WORD)


def keep(
    seed: int,
    dropout: float,
    batch: Int[Tensor, "..."],
    head: Int[Tensor, "..."],
    query: Int[Tensor, "..."],
    key: Int[Tensor, "..."],
) -> Bool[Tensor, "..."]:
    """Whether each weight is kept, with probability `1 - dropout`."""
    return bits(seed, batch, head, query, key) >= round(dropout * 2**32)
