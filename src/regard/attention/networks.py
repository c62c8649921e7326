"""Scores that no single product can express: a network on each pair, and products with relative positions."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.attention.place import Place
from regard.attention.scores import Score
from regard.attention.terms import check_one_sequence


class Network(nn.Module, Score):
    """`s = network([query; key])`: any module as the alignment model, on every pair (Bahdanau et al. 2015, eq. 6).

    O(queries keys) evaluations of the network; `Additive` is the one-layer network that costs the least.

    Args:
        network: from `(..., query_dim + key_dim)` to `(..., 1)`; all heads share it.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def __repr__(self) -> str:
        return f"Network({type(self.network).__name__})"

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        """Any widths will do: the network says itself what it takes."""

    def width(self, query: Tensor, key: Tensor) -> int:
        layers = max([1, *(parameter.shape[0] for parameter in self.network.parameters() if parameter.ndim)])
        return query.shape[-1] + key.shape[-1] + layers

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        shape = (*query.shape[:-1], key.shape[-2])
        pair = torch.cat(
            (
                query.unsqueeze(-2).expand(*shape, query.shape[-1]),
                key.unsqueeze(-3).expand(*shape, key.shape[-1]),
            ),
            -1,
        )
        scores = self.network(pair)
        if tuple(scores.shape) != (*shape, 1):
            raise ValueError(
                f"{self!r} must give one score a pair: from {tuple(pair.shape)} to {(*shape, 1)}, "
                f"but it gave {tuple(scores.shape)}"
            )
        return scores.squeeze(-1)


class RelativeKeys(nn.Module, Score):
    """`s = ((q + u[h]) . k + (q + v[h]) . r[h, clip(u_j - u_i)]) / sqrt(head_dim)`, r learned for each displacement.

    Without `biases` (u = v = 0) these are the relative keys of Shaw et al. 2018; with them the scores of
    Transformer-XL (Dai et al. 2019), whose r is here a table instead of projected sinusoids.

    Args:
        head_dim: width of queries and keys.
        longest: displacements beyond `-longest ... longest` are clipped.
        heads: number of query heads.
        shared: one table for all heads, as in Shaw's paper; otherwise each head has its own.
        biases: learn u and v.
    """

    content_bias: nn.Parameter | None
    position_bias: nn.Parameter | None

    def __init__(
        self,
        head_dim: int,
        longest: int,
        *,
        heads: int = 1,
        shared: bool = True,
        biases: bool = False,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if longest < 0:
            raise ValueError(f"RelativeKeys needs longest >= 0, got {longest}")
        self.head_dim, self.longest, self.heads = head_dim, longest, heads
        tables = 1 if shared else heads
        self.table = nn.Parameter(torch.empty(tables, 2 * longest + 1, head_dim, device=device, dtype=dtype))
        nn.init.normal_(self.table, std=head_dim**-0.5)
        for name in ("content_bias", "position_bias"):
            bias = nn.Parameter(torch.zeros(heads, head_dim, device=device, dtype=dtype)) if biases else None
            self.register_parameter(name, bias)

    def extra_repr(self) -> str:
        return f"head_dim={self.head_dim}, longest={self.longest}, heads={self.heads}"

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        expected, given = (self.heads, self.head_dim, self.head_dim), (query[1], query[-1], key[-1])
        if expected != given:
            raise ValueError(
                f"RelativeKeys was built for (heads, query width, key width) = {expected}, but the call has {given}; "
                f"build it as regard.RelativeKeys({given[1]}, {self.longest}, heads={given[0]})"
            )
        check_one_sequence(self, place, "a score without relative positions")

    @property
    def of_one_sequence(self) -> bool:
        return True

    def width(self, query: Tensor, key: Tensor) -> int:
        return 4  # the products with the table, and the numbers of the displacements

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        def plus(bias: Tensor | None) -> Tensor:
            return query if bias is None else query + bias[place.head_slice, None].to(query.dtype)

        table = self.table if self.table.shape[0] == 1 else self.table[place.head_slice]
        products = plus(self.position_bias) @ table.to(query.dtype).mT
        displacement = (place.key_index - place.stand.unsqueeze(-1)).clamp(-self.longest, self.longest) + self.longest
        relative = products.gather(-1, displacement.expand(*products.shape[:-1], -1))
        return (plus(self.content_bias) @ key.mT + relative) / math.sqrt(self.head_dim)
