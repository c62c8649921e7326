"""Attention within boxes: each query attends to a grid of points inside the box that it stands for."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.api import attend
from regard.attention.watching import current
from regard.ops.native import runs
from regard.ops.points import attend_points

Box = Float[Tensor, "batch queries 4"]  # column and row of the centre, width and height, as shares of the picture


@dataclass(frozen=True, kw_only=True, eq=False)
class Cells:
    """The cells of maps of several sizes, map by map, row by row; `sizes` are the rows and columns of each."""

    vectors: Float[Tensor, "batch cells features"]
    sizes: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, maps: Sequence[Float[Tensor, "batch features _height _width"]]) -> "Cells":
        """The cells of these maps."""
        sizes = tuple((int(one.shape[-2]), int(one.shape[-1])) for one in maps)
        return cls(vectors=torch.cat([one.flatten(2).mT for one in maps], 1), sizes=sizes)

    @property
    def maps(self) -> list[Float[Tensor, "batch features _height _width"]]:
        """The maps."""
        parts = self.vectors.split([rows * columns for rows, columns in self.sizes], 1)
        return [part.mT.unflatten(2, size) for part, size in zip(parts, self.sizes, strict=True)]


class BoxAttention(nn.Module):
    """`concat_h(attend(x W_q[h], k_box W_k[h], v_box W_v[h])) W_o` over points of several maps inside a query's box.

    A query has `points * points` keys on each map, evenly inside its box and read between the map's cells (RoIAlign:
    He et al. 2017), so that what it attends to is as large as what it stands for, whatever the map's size (box-local
    keys: DE-DETR, Wang et al. 2022). Maps are projected before they are read, which is the same and costs less. Each
    key has a learned vector of its own place in the box. Where the box lies has no gradient.

    On a CPU the native kernel reads, attends and forgets; where it cannot run, or a call is watched, the keys of every
    query are laid out and attended to.

    Args:
        dim: width of queries and maps.
        heads: of attention.
        levels: how many maps.
        points: along a side of the grid.
        reach: the grid's side, as a factor of the box's.
    """

    def __init__(self, dim: int, heads: int, *, levels: int, points: int = 4, reach: float = 1.25) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim ({dim}) must be a multiple of heads ({heads})")
        self.heads, self.levels, self.points, self.reach = heads, levels, points, reach
        self.query, self.key_value, self.output = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim), nn.Linear(dim, dim)
        self.place = nn.Parameter(torch.randn(levels * points**2, dim) * dim**-0.5)
        for weight in (self.query.weight, *self.key_value.weight.chunk(2), self.output.weight):
            nn.init.xavier_uniform_(weight)
        for layer in (self.query, self.key_value, self.output):
            nn.init.zeros_(layer.bias)

    def forward(
        self, queries: Float[Tensor, "batch queries dim"], boxes: Box, cells: Cells
    ) -> Float[Tensor, "batch queries dim"]:
        """Attend from each query to the points of its box on the maps."""
        memory, where = self.key_value(cells.vectors), self.where(boxes.detach())
        query = self.query(queries).unflatten(-1, (self.heads, -1))
        place = self.place.unflatten(-1, (self.heads, -1))
        if runs(query, memory, where, place) and current() is None:
            memory = memory.unflatten(-1, (2, self.heads, -1))
            context = attend_points(query, memory, cells.sizes, where, place, query.shape[-1] ** -0.5)
        else:
            read = sample(Cells(vectors=memory, sizes=cells.sizes), where).unflatten(-1, (2, self.heads, -1))
            key, value = read.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)  # each (batch * queries) heads keys head_dim
            one_each = query.flatten(0, 1).unsqueeze(2)
            context = attend(one_each, key + place.transpose(0, 1), value).view_as(query)
        return self.output(context.flatten(2))

    def where(self, boxes: Box) -> Float[Tensor, "batch queries points 2"]:
        """Column and row of the points of each box, row by row of its grid, as shares of the picture."""
        steps = (torch.arange(self.points, device=boxes.device, dtype=boxes.dtype) + 0.5) / self.points - 0.5
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        offsets = torch.stack((columns, rows), -1).flatten(0, 1) * self.reach
        return boxes[:, :, None, :2] + offsets * boxes[:, :, None, 2:]


def sample(
    cells: Cells, where: Float[Tensor, "batch queries points 2"]
) -> Float[Tensor, "batch queries keys features"]:
    """What the maps have at these points, map by map."""
    at = (where * 2.0 - 1.0).to(cells.vectors.dtype)
    found = [functional.grid_sample(one, at, align_corners=False, padding_mode="border") for one in cells.maps]
    return torch.cat(found, -1).permute(0, 2, 3, 1)
