"""Attention within boxes: each query attends to a grid of points inside the box that it stands for."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from regard.attention.api import attend

Box = Float[Tensor, "batch queries 4"]  # column and row of the centre, width and height, as shares of the picture


class BoxAttention(nn.Module):
    """`concat_h(attend(x W_q[h], k_box W_k[h], v_box W_v[h])) W_o` over points of several maps inside a query's box.

    A query has `points * points` keys on each map, evenly inside its box and read between the map's cells (RoIAlign:
    He et al. 2017), so that what it attends to is as large as what it stands for, whatever the map's size (box-local
    keys: DE-DETR, Wang et al. 2022). Maps are projected before they are read, which is the same and costs less. Each
    key has a learned vector of its own place in the box.

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

    def project(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """The keys and values of every cell of the maps `(batch, dim, height, width)`, to be read by any queries."""
        return [functional.conv2d(one, self.key_value.weight[:, :, None, None], self.key_value.bias) for one in maps]

    def forward(
        self, queries: Float[Tensor, "batch queries dim"], boxes: Box, maps: Sequence[Tensor]
    ) -> Float[Tensor, "batch queries dim"]:
        """Attend from each query to the points of its box on the maps, as `project` gave them."""
        batch, count, dim = queries.shape
        read = self.read(boxes, maps).unflatten(-1, (2, self.heads, -1))  # batch queries keys 2 heads head_dim
        key, value = read.permute(3, 0, 1, 4, 2, 5).flatten(1, 2)  # each (batch * queries) heads keys head_dim
        place = self.place.unflatten(-1, (self.heads, -1)).transpose(0, 1)
        query = self.query(queries).view(batch * count, 1, self.heads, -1).transpose(1, 2)
        context = attend(query, key + place, value)
        return self.output(context.transpose(1, 2).reshape(batch, count, dim))

    def read(self, boxes: Box, maps: Sequence[Tensor]) -> Float[Tensor, "batch queries keys features"]:
        """What the maps have at the points of each box: map by map, row by row of the grid."""
        where = self.where(boxes) * 2.0 - 1.0
        found = [functional.grid_sample(one, where, align_corners=False, padding_mode="border") for one in maps]
        return torch.cat(found, -1).permute(0, 2, 3, 1)

    def where(self, boxes: Box) -> Float[Tensor, "batch queries points 2"]:
        """Column and row of the points of each box, as shares of the picture."""
        steps = (torch.arange(self.points, device=boxes.device, dtype=boxes.dtype) + 0.5) / self.points - 0.5
        rows, columns = torch.meshgrid(steps, steps, indexing="ij")
        offsets = torch.stack((columns, rows), -1).flatten(0, 1) * self.reach
        return boxes[:, :, None, :2] + offsets * boxes[:, :, None, 2:]
