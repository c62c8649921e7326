"""A detector: places of a picture that may be things become queries, which refine their boxes layer by layer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from regard.attention.layouts import Dense
from regard.models.boxes import inverse_sigmoid, sinusoids, to_centred
from regard.models.segmenter import PixelDecoder
from regard.nn.attention import MultiHeadAttention
from regard.nn.blocks import FeedForward, Residual
from regard.nn.box_attention import BoxAttention, Cells
from regard.nn.convolution import ConvNorm

PRIOR = 0.01  # how likely a thing is anywhere, before anything is learned (Lin et al. 2017)

Logits = Float[Tensor, "batch queries classes"]
Centred = Float[Tensor, "batch queries 4"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """The logits of every class, and the boxes (centre and size, as shares of the picture), of queries or cells."""

    logits: Logits
    boxes: Centred


@dataclass(frozen=True, kw_only=True, eq=False)
class Queries:
    """What enters the decoder: a vector and a box each; and which of them may see which (all, if not given)."""

    vectors: Float[Tensor, "batch queries dim"]
    boxes: Centred
    sees: Bool[Tensor, "batch queries queries"] | None = None


def mlp(dim: int, outputs: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, dim), nn.ReLU(), nn.Linear(dim, outputs))


class DetectorLayer(nn.Module):
    """Queries attend to each other, and to the points of their boxes; then a feed-forward layer (pre-norm)."""

    def __init__(self, dim: int, heads: int, *, levels: int, points: int, dropout: float) -> None:
        super().__init__()
        self.attention, self.cross = (
            MultiHeadAttention(dim, heads),
            BoxAttention(dim, heads, levels=levels, points=points),
        )
        self.feed_forward = FeedForward(dim, 4 * dim)
        self.around_attention, self.around_cross, self.around_feed_forward = (
            Residual(dim, pre_norm=True, dropout=dropout) for _ in range(3)
        )

    def forward(
        self,
        queries: Float[Tensor, "batch queries dim"],
        place: Float[Tensor, "batch queries dim"],
        boxes: Centred,
        cells: Cells,
        mask: Dense | None,
    ) -> Float[Tensor, "batch queries dim"]:
        """One layer; `place` is the vector of each box, which attention reads and the residual path does not carry."""
        queries = self.around_attention(queries, lambda x: self.attention(x + place, mask=mask))
        queries = self.around_cross(queries, lambda x: self.cross(x + place, boxes, cells))
        return self.around_feed_forward(queries, self.feed_forward)


class Detector(nn.Module):
    """Things in a picture, each once: of the DETR family (Carion et al. 2020), with what helps where pictures are few.

    The maps of a visual encoder at strides 8, 16 and 32 are joined to a pyramid, each cell of which says what it may be
    part of and the box of it. The best cells become queries that begin with those boxes (two stages: Deformable DETR,
    Zhu et al. 2021; RT-DETR: Zhao et al. 2024), so that each starts near a thing. In every layer queries attend to each
    other, which is how one of two on the same thing learns to be silent, and to points inside their boxes, which each
    layer then corrects.

    Args:
        encoder: gives maps of `dims` channels at `strides`, the second finest of stride 8.
        classes: how many there are.
        dim: of queries and of the pyramid's cells.
        layers: of the decoder.
        heads: of its attention.
        queries: things that a picture may have, at most.
        points: along a side of the grid in a box.
        dropout: in the decoder.
    """

    def __init__(
        self,
        encoder: Any,
        classes: int,
        *,
        dim: int = 128,
        layers: int = 3,
        heads: int = 8,
        queries: int = 100,
        points: int = 4,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.dim, self.queries = encoder, classes, dim, queries
        self.strides = tuple(int(stride) for stride in encoder.strides[1:])
        self.pyramid = PixelDecoder(encoder.dims[1:], dim)
        self.cells = nn.ModuleList(ConvNorm(dim, dim) for _ in self.strides)
        self.cell_class, self.cell_box = nn.Linear(dim, classes), mlp(dim, 4)
        self.begin = nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim))
        self.names = nn.Embedding(classes, dim)  # of the queries that begin at a known thing, in training
        self.place = mlp(dim, dim)
        self.layers = nn.ModuleList(
            DetectorLayer(dim, heads, levels=len(self.strides), points=points, dropout=dropout) for _ in range(layers)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.query_class = nn.ModuleList(nn.Linear(dim, classes) for _ in range(layers))
        self.query_box = nn.ModuleList(mlp(dim, 4) for _ in range(layers))
        bias = inverse_sigmoid(torch.tensor(PRIOR)).item()
        for head in (self.cell_class, *self.query_class):
            nn.init.normal_(head.weight, std=0.01)
            nn.init.constant_(head.bias, bias)
        for head in self.query_box:
            last = list(head.children())[-1]
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, pictures: Tensor) -> Found:
        """What is found in pictures `(batch, 3, height, width)` of values 0 to 255, by the last layer."""
        maps, cells, vectors = self.read(pictures)
        return self.refine(self.best(cells, vectors, self.queries), maps)[-1]

    def read(self, pictures: Tensor) -> tuple[list[Tensor], Found, Float[Tensor, "batch cells dim"]]:
        """The pyramid's maps, what each of their cells says, and the vectors of the cells, from fine to coarse."""
        maps = self.pyramid(self.encoder(pictures)[1:])
        vectors, boxes = [], []
        for one, stride, conv in zip(maps, self.strides, self.cells, strict=True):
            cell = conv(one).flatten(2).mT
            vectors.append(cell)
            boxes.append(self._boxes(cell, one.shape[-2:], stride, pictures.shape[-2:]))
        joined = torch.cat(vectors, 1)
        return maps, Found(logits=self.cell_class(joined), boxes=torch.cat(boxes, 1)), joined

    def _boxes(self, cells: Tensor, size: Sequence[int], stride: int, whole: Sequence[int]) -> Centred:
        """The boxes of a map's cells: how far their sides lie from the cell's centre, in strides (FCOS: Tian 2019)."""
        centre = _centres(size, cells.device)
        sides = nn.functional.softplus(self.cell_box(cells).float()) * 2.0
        corners = torch.cat((centre - sides[..., :2], centre + sides[..., 2:]), -1) * stride
        scale = corners.new_tensor((whole[1], whole[0], whole[1], whole[0]))
        return to_centred(corners / scale)

    def centres(self, maps: Sequence[Tensor], pictures: Tensor) -> Float[Tensor, "cells 2"]:
        """Column and row of the middle of each cell, as shares of the picture."""
        whole = pictures.shape[-2:]
        found = [_centres(one.shape[-2:], one.device) * stride for one, stride in zip(maps, self.strides, strict=True)]
        return torch.cat(found) / found[0].new_tensor((whole[1], whole[0]))

    def best(self, cells: Found, vectors: Float[Tensor, "batch cells dim"], count: int) -> Queries:
        """The cells that are most surely things, as queries, the surest first."""
        sure = cells.logits.detach().amax(-1)
        places: Int[Tensor, "batch queries"] = sure.topk(min(count, sure.shape[1]), dim=1).indices
        chosen = places.unsqueeze(-1)
        # Boxes and vectors are learned by the cells' own loss: the decoder begins with them as they are.
        boxes = cells.boxes.detach().gather(1, chosen.expand(-1, -1, 4)).clamp(0.0, 1.0)
        begin = self.begin(vectors.detach().gather(1, chosen.expand(-1, -1, self.dim)))
        return Queries(vectors=begin, boxes=boxes)

    def refine(self, queries: Queries, maps: Sequence[Tensor]) -> list[Found]:
        """What each layer of the decoder finds."""
        vectors, boxes, found = queries.vectors, queries.boxes, []
        cells = Cells.of(maps)
        mask = None if queries.sees is None else Dense(queries.sees.unsqueeze(1))
        for number, layer in enumerate(self.layers):
            assert isinstance(layer, DetectorLayer)
            place = self.place(sinusoids(boxes, self.dim))
            vectors = layer(vectors, place, boxes, cells, mask)
            hidden = self.norms[number](vectors)
            moved = (inverse_sigmoid(boxes) + self.query_box[number](hidden).float()).sigmoid()
            found.append(Found(logits=self.query_class[number](hidden), boxes=moved))
            boxes = moved.detach()  # each layer corrects the box that it was given
        return found


def _centres(size: Sequence[int], device: torch.device) -> Float[Tensor, "cells 2"]:
    """Column and row of the middle of each cell of a map, in cells, row by row."""
    rows, columns = torch.meshgrid(*(torch.arange(length, device=device) + 0.5 for length in size), indexing="ij")
    return torch.stack((columns, rows), -1).flatten(0, 1)
