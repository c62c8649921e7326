"""What one input made a model attend to: every layer and head, in O(n) numbers, as page and pictures draw it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from html import escape

import torch
from jaxtyping import Float, Int
from torch import Tensor

from regard.attention.observations import Entropy, Observation, Pooled, Received, TopK
from regard.attention.seen import Seen
from regard.explain.pieces import Piece

POOLED = 256  # rows and columns of a head's map at most
KEPT = 16_384  # single weights that are kept of a head, or FEWEST for each query if that is more
FEWEST = 8


@dataclass(frozen=True, kw_only=True)
class Grid:
    """What lies under a side whose pieces are places: a picture's patches, or a sound's frames under its spectrogram.

    Args:
        png: the picture.
        rows: of the grid of cells that the picture is cut into; 1 for a sound.
        columns: of the grid.
        first: the piece that the first cell belongs to, the others following line by line; 1 behind a class token.
        sound: of a sound, itself, as FLAC, to be played; nothing: it is not kept.
        seconds: that the columns take together.
    """

    png: bytes
    rows: int
    columns: int
    first: int = 0
    sound: bytes = b""
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Side:
    """A sequence that attends or is attended to: its name, such as "source", and its pieces."""

    name: str
    pieces: tuple[Piece, ...]
    grid: Grid | None = None


@dataclass(frozen=True, eq=False)
class Strongest:
    """The strongest keys of each query of one input, the strongest first: -1 where there is none."""

    keys: Int[Tensor, "heads queries k"]
    weights: Float[Tensor, "heads queries k"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Layer:
    """What the heads of one attention layer saw. Queries and keys are the pieces of two sides, or of the same one.

    The strongest weights are single ones and exact; every other weight of a query is at most the least of them.
    """

    name: str
    queries: str
    keys: str
    topk: Strongest
    entropy: Float[Tensor, "heads queries"]  # nats
    received: Float[Tensor, "heads keys"]
    pooled: Float[Tensor, "heads rows columns"]  # as `regard.Pooled`; all weights where they are all kept

    @property
    def heads(self) -> int:
        """How many heads there are."""
        return len(self.entropy)

    @property
    def complete(self) -> bool:
        """Whether the strongest weights are all weights."""
        return self.topk.keys.shape[-1] >= self.received.shape[-1]

    def checked(self, head: int) -> int:
        """The number of a head, if there is one.

        Raises:
            ValueError: there is not.
        """
        if not 0 <= head < self.heads:
            raise ValueError(f"{self.name} has no head {head}: give one of 0 to {self.heads - 1}")
        return head

    def map(self, head: int | None = None) -> Float[Tensor, "rows columns"]:
        """The map of a head, or the mean of all."""
        return self.pooled.mean(0) if head is None else self.pooled[self.checked(head)]

    def of_query(self, query: int, head: int | None = None) -> Float[Tensor, " keys"]:
        """The single weights that are kept of a query, 0 for the others; of a head, or the mean of all."""
        keys = self.topk.keys[:, query]
        found = torch.zeros(self.heads, self.received.shape[-1] + 1)  # and a column for the missing
        found.scatter_(-1, keys.where(keys >= 0, found.shape[-1] - 1), self.topk.weights[:, query])
        return (found.mean(0) if head is None else found[self.checked(head)])[:-1]

    def record(self, strongest: int) -> dict[str, object]:
        """The same for programs: of each head `[key, weight]` pairs of each query, the strongest first."""
        heads = []
        for head in range(self.heads):
            pairs = zip(*(of[head, :, :strongest].tolist() for of in (self.topk.keys, self.topk.weights)), strict=True)
            heads.append(
                {
                    "strongest": [
                        [[key, round(weight, 6)] for key, weight in zip(keys, weights, strict=True) if key >= 0]
                        for keys, weights in pairs
                    ],
                    "entropy": [round(value, 5) for value in self.entropy[head].tolist()],
                    "received": [round(value, 5) for value in self.received[head].tolist()],
                }
            )
        return {"name": self.name, "queries": self.queries, "keys": self.keys, "heads": heads}


@dataclass(frozen=True, kw_only=True, eq=False)
class Look:
    """What one input made a model attend to.

    Args:
        title: a name for the input.
        sides: the sequences; the layers name them.
        layers: from the first to the last.
        score: what the output was ranked by.

    Raises:
        ValueError: sizes that do not fit together, or nothing to look at.
    """

    title: str
    sides: tuple[Side, ...]
    layers: tuple[Layer, ...]
    score: float | None = None

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("there is nothing to look at: no layer recorded anything")
        sizes = {side.name: len(side.pieces) for side in self.sides}
        for layer in self.layers:
            for what, side, size in (
                ("queries", layer.queries, layer.entropy.shape[-1]),
                ("keys", layer.keys, layer.received.shape[-1]),
            ):
                if side not in sizes:
                    raise ValueError(f'{layer.name} has the {what} "{side}", but the sides are {", ".join(sizes)}')
                if sizes[side] != size:
                    raise ValueError(
                        f'{layer.name} has {size} {what}, but the side "{side}" has {sizes[side]} pieces: give one '
                        f"piece for each position that the model saw, special tokens included"
                    )

    def _repr_html_(self) -> str:
        """The page, as a notebook shows it."""
        from regard.explain.page import page  # which draws looks, and so imports this file

        document = escape(page([self], title=self.title or "Attention"))
        return f'<iframe srcdoc="{document}" style="width:100%;height:50rem;border:0" title="Attention"></iframe>'

    def side(self, name: str) -> Side:
        """The side of this name."""
        return next(side for side in self.sides if side.name == name)

    def layer(self, name: str) -> Layer:
        """The layer of this name.

        Raises:
            ValueError: there is none.
        """
        found = [layer for layer in self.layers if layer.name == name]
        if not found:
            raise ValueError(f"there is no layer {name!r}; there is {', '.join(layer.name for layer in self.layers)}")
        return found[0]

    def record(self, *, strongest: int = 8) -> dict[str, object]:
        """The same for programs: pieces by name of their side, and of every head the strongest keys of each query, the
        entropy of each query in nats, and the weight that each key received.
        """
        return {
            "title": self.title,
            "score": self.score,
            "sides": {side.name: [piece.text for piece in side.pieces] for side in self.sides},
            "layers": [layer.record(strongest) for layer in self.layers],
        }

    @classmethod
    def of(
        cls,
        seen: Mapping[str, Seen],
        sides: Sequence[Side],
        attends: Mapping[str, tuple[str, str]],
        *,
        title: str,
        score: float | None = None,
        row: int = 0,
    ) -> "Look":
        """What `watch` saw with the observations of `records()`.

        Args:
            seen: what `regard.watch` gave, or a mapping like it, from the names of layers.
            sides: the sequences.
            attends: from patterns of layers' names to the names of the side that attends and the side that is
                attended to, such as `{"encoder.*": ("source", "source")}`; the first that fits counts, and layers
                that none fits are left out.
            title: a name for the input.
            score: what the output was ranked by.
            row: of the batch.
        """
        layers = []
        for name, one in seen.items():
            pair = next((pair for pattern, pair in attends.items() if fnmatchcase(name, pattern)), None)
            if pair is None:
                continue
            topk = Strongest(one.topk.keys[row].cpu(), one.topk.weights[row].detach().float().cpu())
            entropy, received = (one[key][row].detach().float().cpu() for key in ("entropy", "received"))
            layers.append(
                Layer(
                    name=name or "the model",
                    queries=pair[0],
                    keys=pair[1],
                    topk=topk,
                    entropy=entropy.clamp_min(0.0),  # rounding can leave less than nothing
                    received=received,
                    pooled=_map(topk, one.pooled[row].detach().float().cpu(), received.shape[-1]),
                )
            )
        return cls(title=title, sides=tuple(sides), layers=tuple(layers), score=score)


def _map(
    topk: Strongest, pooled: Float[Tensor, "heads most_rows most_columns"], keys: int
) -> Float[Tensor, "heads rows columns"]:
    """All weights where they are there; otherwise the pooled map, without rows and columns that nothing belongs to."""
    heads, queries, k = topk.keys.shape
    if k >= keys:
        whole = torch.zeros(heads, queries, keys + 1)  # and a column for the missing
        return whole.scatter_(-1, topk.keys.where(topk.keys >= 0, keys), topk.weights)[..., :keys]
    rows, columns = (
        torch.arange(size) * most // size if size < most else torch.arange(most)
        for size, most in zip((queries, keys), pooled.shape[1:], strict=True)
    )
    return pooled[:, rows][..., columns]


def records(length: int) -> tuple[Observation, ...]:
    """What to record for a look at sequences of at most `length` pieces: O(length) numbers a layer and head."""
    k = max(1, min(length, max(FEWEST, KEPT // max(length, 1))))
    size = max(1, min(length, POOLED))
    return TopK(k), Entropy(), Received(), Pooled(size, size)


def of_weights(name: str, weights: Float[Tensor, "heads queries keys"], *, queries: str, keys: str) -> Layer:
    """The layer of weights that are there already, all of them."""
    weights = weights.detach().float().cpu()
    ordered, order = weights.sort(dim=-1, descending=True, stable=True)
    return Layer(
        name=name,
        queries=queries,
        keys=keys,
        topk=Strongest(order, ordered),
        entropy=torch.special.entr(weights).sum(-1).clamp_min(0.0),
        received=weights.sum(-2),
        pooled=weights,
    )
