"""Positions: how a model that sees a set learns that it is a sequence."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.ops.turn import turn


class Sinusoidal(nn.Module):
    """`x + PE`, `PE[t, 2i] = sin(t / 10000^(2i/dim))`, `PE[t, 2i+1] = cos(...)` (Vaswani et al. 2017); any length."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 2:
            raise ValueError(f"Sinusoidal pairs sines with cosines, so dim must be even, got {dim}")
        self.dim = dim

    def forward(
        self, inputs: Float[Tensor, "batch length dim"], position: int | Int[Tensor, "batch length"] = 0
    ) -> Float[Tensor, "batch length dim"]:
        """Add the encodings of the positions at which the inputs stand: all of them given, or that of the first."""
        if not isinstance(position, Tensor):
            return inputs + self._encodings(torch.arange(position, position + inputs.shape[1]), inputs)
        if torch.compiler.is_compiling():  # which position is the last cannot be looked at
            return inputs + self._encodings(position, inputs)
        # The few positions of many packed sequences: each is computed once.
        return inputs + self._encodings(torch.arange(int(position.max()) + 1), inputs)[position]

    def _encodings(self, position: Int[Tensor, "*rows length"], like: Tensor) -> Float[Tensor, "*rows length dim"]:
        angle = _angles(position.to(like.device), self.dim, 10000.0, like.dtype)
        return torch.stack((angle.sin(), angle.cos()), -1).flatten(-2).to(like.dtype)


class SinusoidalMap(nn.Module):
    """Adds to each place of a map the sinusoids of its row, and of its column (Parmar et al. 2018, Carion et al. 2020).

    The first half of the features is about the row, the second about the column; a map may have any size.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        if dim % 4:
            raise ValueError(
                f"SinusoidalMap has pairs for rows and for columns, so dim must be a multiple of 4, got {dim}"
            )
        self.axis = Sinusoidal(dim // 2)

    def forward(self, inputs: Float[Tensor, "batch height width dim"]) -> Float[Tensor, "batch height width dim"]:
        """Add the encodings of rows and columns."""
        rows, columns = inputs.chunk(2, -1)
        rows = self.axis(rows.transpose(1, 2).flatten(0, 1)).unflatten(0, (inputs.shape[0], -1)).transpose(1, 2)
        columns = self.axis(columns.flatten(0, 1)).unflatten(0, (inputs.shape[0], -1))
        return torch.cat((rows, columns), -1)


class Learned(nn.Module):
    """`x + table[t]`, a learned vector for each of `length` positions (Gehring et al. 2017)."""

    def __init__(self, dim: int, length: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(length, dim) * dim**-0.5)

    def forward(
        self, inputs: Float[Tensor, "batch length dim"], position: int | Int[Tensor, "batch length"] = 0
    ) -> Float[Tensor, "batch length dim"]:
        """Add the vectors of the positions at which the inputs stand: all of them given, or that of the first."""
        first = not isinstance(position, Tensor)
        end = int(position.max()) + 1 if isinstance(position, Tensor) else position + inputs.shape[1]
        if end > len(self.table):
            raise ValueError(
                f"the input reaches position {end}, but the model has learned {len(self.table)} positions; "
                f"shorten the input, or train with positions=sinusoidal or rotary"
            )
        return inputs + (self.table[position:end] if first else self.table[position])


class Rotary(nn.Module):
    """RoPE: turns each pair of query and key features by an angle that grows with the position (Su et al. 2021).

    `dot(rotate(q, i), rotate(k, j))` depends on `i - j` alone. Feature f is paired with `f + head_dim / 2`.
    """

    def __init__(self, head_dim: int, base: float = 10000.0) -> None:
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"Rotary turns pairs of features, so head_dim must be even, got {head_dim}")
        self.head_dim, self.base = head_dim, base

    def forward(
        self, inputs: Float[Tensor, "batch heads length head_dim"], offset: int | Int[Tensor, " batch"] = 0
    ) -> Float[Tensor, "batch heads length head_dim"]:
        """Turn features of the positions `offset ... offset + length - 1` (an offset for all rows, or one for each)."""
        start = offset.view(-1, 1, 1) if isinstance(offset, Tensor) else offset
        position = start + torch.arange(inputs.shape[2], device=inputs.device)
        angle = _angles(position, self.head_dim, self.base, inputs.dtype)
        return turn(inputs, angle.cos().to(inputs.dtype), angle.sin().to(inputs.dtype))

    def at(self, position: Int[Tensor, "*shape"]) -> tuple[Float[Tensor, "*shape half"], Float[Tensor, "*shape half"]]:
        """The cosines and the sines of positions' angles."""
        angle = _angles(position, self.head_dim, self.base, torch.float32)
        return angle.cos(), angle.sin()


def _angles(
    position: Int[Tensor, "*shape"], dim: int, base: float, dtype: torch.dtype
) -> Float[Tensor, "*shape pairs"]:
    """`position / base^(2f / dim)` for each pair of features f, in float32, or float64 for such inputs.

    Made anew at every call: a buffer would be rounded with the model where that is cast to 16 bits.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    exponent = torch.arange(0, dim, 2, device=position.device, dtype=wide) / dim
    return position.unsqueeze(-1) * base**-exponent
