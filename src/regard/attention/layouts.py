"""Masks that a tensor names: which blocks of positions see each other, or which pairs."""

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from regard.attention.masks import Mask, interval
from regard.attention.place import Place


class Blocks(Mask):
    """Positions in blocks of `size`: a query sees the keys of its own block, or of those that `layout` names.

    Args:
        size: positions of a block; the last one may be cut short.
        layout: boolean, `(query blocks, key blocks)` or `(heads, query blocks, key blocks)`: whether a query whose
            place is in the one block may see the other's keys (Zaheer et al. 2020, BigBird). Its own block only
            when not given (Qiu et al. 2020).
    """

    def __init__(self, size: int, layout: Tensor | None = None) -> None:
        if size < 1:
            raise ValueError(f"Blocks needs a size >= 1, got {size}")
        if layout is not None and (layout.dtype != torch.bool or layout.ndim not in (2, 3)):
            raise TypeError(
                "Blocks takes a boolean layout, (query blocks, key blocks) or (heads, query blocks, key blocks), "
                f"got {layout.dtype} of shape {tuple(layout.shape)}"
            )
        self.size, self.layout = size, layout

    def __repr__(self) -> str:
        return f"Blocks({self.size}{'' if self.layout is None else f', layout={tuple(self.layout.shape)}'})"

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        if self.layout is None:
            return None, None, None
        return None, self.layout.shape[-2] * self.size, self.layout.shape[-1] * self.size

    def check(self, place: Place) -> None:
        if self.layout is None:
            return
        last = place.queries - 1 + (place.offset if isinstance(place.offset, int) else 0)
        wanted = (last // self.size + 1, -(-place.keys // self.size))
        if self.layout.ndim == 3 and self.layout.shape[0] not in (1, place.heads):
            raise ValueError(f"{self!r} has {self.layout.shape[0]} heads, but the call has {place.heads}")
        if any(have < want for have, want in zip(self.layout.shape[-2:], wanted, strict=True)):
            raise ValueError(
                f"{self!r} has {tuple(self.layout.shape[-2:])} blocks of {self.size}, but the call reaches {wanted}: "
                f"{place.queries} queries at offset {place.offset} and {place.keys} keys"
            )

    def _edges(self, place: Place) -> tuple[Tensor, Tensor]:
        """The keys of each query's own block; blocks are counted anew in each packed document."""
        low = place.origin + (place.stand - place.origin).div(self.size, rounding_mode="floor") * self.size
        return low, low + self.size

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        if self.layout is None:
            low, high = self._edges(place)
            return (place.key_index >= low.unsqueeze(-1)) & (place.key_index < high.unsqueeze(-1))
        layout = self.layout.to(place.device)
        layout = layout.unsqueeze(0) if layout.ndim == 2 else layout
        layout = layout if layout.shape[0] == 1 else layout[place.head_slice]
        head = torch.arange(len(layout), device=place.device).view(1, -1, 1, 1)
        query, key = (
            (at - place.origin.unsqueeze(-1)).div(self.size, rounding_mode="floor")
            for at in (place.stand.unsqueeze(-1), place.key_index)
        )
        inside = (query >= 0) & (query < layout.shape[1]) & (key >= 0) & (key < layout.shape[2])
        return layout[head, query.clamp(0, layout.shape[1] - 1), key.clamp(0, layout.shape[2] - 1)] & inside

    def intervals(self, place: Place) -> Int[Tensor, "rows heads queries m 2"] | None:
        return interval(*self._edges(place), place) if self.layout is None else None


class Dense(Mask):
    """Any mask at all: a boolean tensor that broadcasts to `(batch, heads, queries, keys)`; O(n^2) memory."""

    def __init__(self, tensor: Tensor) -> None:
        if not isinstance(tensor, Tensor) or tensor.dtype != torch.bool:
            given = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(
                f"Dense takes a boolean tensor where True means 'may attend', got {given}; "
                "a tensor that is added to the scores is a term: score=regard.ScaledDot() + regard.Bias(tensor)"
            )
        self.tensor = tensor

    def __repr__(self) -> str:
        return f"Dense({tuple(self.tensor.shape)})"

    def sizes(self) -> tuple[int | None, int | None, int | None]:
        batch, _, queries, keys = (None if size == 1 else size for size in ((1,) * 4 + tuple(self.tensor.shape))[-4:])
        return batch, queries, keys

    def check(self, place: Place) -> None:
        full = (place.batch, place.heads, place.queries, place.keys)
        shape = (1,) * (4 - self.tensor.ndim) + tuple(self.tensor.shape)
        if len(shape) != 4 or any(size not in (1, whole) for size, whole in zip(shape, full, strict=True)):
            raise ValueError(
                f"{self!r} does not broadcast to (batch, heads, queries, keys) = {full}; "
                "a mask per batch row and key is regard.Dense(tensor[:, None, None, :])"
            )

    def allowed(self, place: Place) -> Bool[Tensor, "rows heads queries keys"]:
        tensor = self.tensor.to(place.device)
        tensor = tensor.view((1,) * (4 - tensor.ndim) + tuple(tensor.shape))
        return place.cut(tensor.expand(*tensor.shape[:3], place.keys))
