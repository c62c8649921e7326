"""What the laws are drawn from: sizes and positions of a call, and masks together with what they mean.

The meaning is written here a second time, as a predicate on Python integers, so that nothing is checked against
itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

import regard
from regard.attention.capabilities import TABLE, Feature
from regard.attention.place import Place

few = settings(max_examples=25)  # for laws that call `attend` many times

# Strategies are made once: hypothesis checks each that it has not met before.
BOOLEAN = st.booleans()
FEW = st.sampled_from((1, 2, 3))
LENGTH = st.sampled_from((1, 2, 3, 5, 7, 11))
OFFSET = st.integers(-3, 7)
BESIDE = st.integers(0, 4)
PREFIX = st.integers(0, 12)
SEED = st.integers(0, 999)
UP_TO = [st.integers(0, size) for size in range(12)]
KIND = st.sampled_from(("causal", "window", "prefix", "global", "lengths", "dense", "strided", "blocks"))


def dtype_of(backend: str) -> torch.dtype:
    """The widest that a backend computes in."""
    return torch.float64 if Feature.FLOAT64 in TABLE[backend] else torch.float32


def close_of(backend: str) -> dict[str, float]:
    """How near to its formula a number of a backend is, for `pytest.approx`."""
    return {"rel": 1e-10, "abs": 1e-12} if dtype_of(backend) == torch.float64 else {"rel": 1e-4, "abs": 1e-5}


@dataclass(frozen=True)
class Packing:
    """Documents of each batch row, as lengths on both sides."""

    queries: list[list[int]]
    keys: list[list[int]]

    def mask(self) -> regard.Documents:
        return regard.Documents(self.queries, key_lengths=self.keys)

    def document(self, row: int, query: int) -> tuple[int, int, int]:
        """The first query, the first key and the end of the keys of a query's document."""
        first = low = 0
        for queries, keys in zip(self.queries[row], self.keys[row], strict=True):
            if query < first + queries:
                return first, low, low + keys
            first, low = first + queries, low + keys
        raise AssertionError("lengths add up to the number of queries")


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Sizes and positions of one call; `packing` holds where the mask has `Documents` in it."""

    batch: int
    heads: int
    queries: int
    keys: int
    offset: int | list[int] = 0
    packing: Packing | None = None

    @property
    def offsets(self) -> int | Tensor:
        return self.offset if isinstance(self.offset, int) else torch.tensor(self.offset)

    def stand(self, row: int, query: int) -> int:
        """The key at which a query stands."""
        offset = self.offset if isinstance(self.offset, int) else self.offset[row]
        if self.packing is None:
            return query + offset
        first, low, _ = self.packing.document(row, query)
        return low + (query - first) + offset

    def origin(self, row: int, query: int) -> int:
        """The key at which a query's positions begin."""
        return 0 if self.packing is None else self.packing.document(row, query)[1]

    def place(self, *, device: str = "cpu") -> Place:
        """As `attend` makes it."""
        table = None
        if self.packing is not None:
            rows, queries = range(self.batch), range(self.queries)
            table = torch.tensor([[self.packing.document(row, query)[:2] for query in queries] for row in rows]).view(
                self.batch, self.queries, 2
            )
        return Place(
            batch=self.batch,
            heads=self.heads,
            queries=self.queries,
            keys=self.keys,
            offset=self.offsets,
            device=torch.device(device),
            documents=None if table is None else table[..., 1] - table[..., 0],
            origins=None if table is None else table[..., 1],
        )


@dataclass(frozen=True, eq=False)
class Meaning:
    """A mask, and the pairs (row, head, query, key) that it allows.

    The mask is built where a test asks for it: hypothesis forbids Python's random numbers while it draws, and the
    run-time checks of types use them.
    """

    build: Callable[[], regard.Mask]
    sees: Callable[[int, int, int, int], bool]

    @cached_property
    def mask(self) -> regard.Mask:
        return self.build()

    def __repr__(self) -> str:
        return repr(self.mask)

    def matrix(self, scene: Scene) -> Tensor:
        """Every pair, as `(batch, heads, queries, keys)` booleans."""
        sizes = (scene.batch, scene.heads, scene.queries, scene.keys)
        pairs = [self.sees(*place) for place in product(*map(range, sizes))]
        return torch.tensor(pairs, dtype=torch.bool).view(sizes)


def splits(draw: st.DrawFn, total: int, parts: int) -> list[int]:
    """`parts` lengths >= 0 that add up to `total`."""
    cuts = sorted(draw(UP_TO[total]) for _ in range(parts - 1))
    return [high - low for low, high in zip([0, *cuts], [*cuts, total], strict=True)]


@st.composite
def scenes(draw: st.DrawFn, *, packed: bool | None = None, square: bool = False) -> Scene:
    """Any sizes and offsets; packed or not, or either where `packed` is not given."""
    batch, heads, queries = draw(FEW), draw(FEW), draw(LENGTH)
    keys = queries if square else draw(LENGTH)
    offset: int | list[int] = 0
    match draw(FEW):
        case 2:
            offset = draw(OFFSET)
        case 3:
            offset = [draw(OFFSET) for _ in range(batch)]
    packing = None
    if draw(BOOLEAN) if packed is None else packed:
        documents = draw(FEW)
        packing = Packing(*([splits(draw, size, documents) for _ in range(batch)] for size in (queries, keys)))
    return Scene(batch=batch, heads=heads, queries=queries, keys=keys, offset=offset, packing=packing)


def leaf(draw: st.DrawFn, scene: Scene, *, dense: bool) -> Meaning:
    """One mask, of any kind but `Documents`."""
    match draw(KIND):
        case "window":
            left, right = draw(BESIDE), draw(BESIDE) if draw(BOOLEAN) else None
            after = left if right is None else right
            return Meaning(
                lambda: regard.Window(left, right),
                lambda b, h, i, j: scene.stand(b, i) - left <= j <= scene.stand(b, i) + after,
            )
        case "prefix":
            length = draw(PREFIX)
            return Meaning(lambda: regard.Prefix(length), lambda b, h, i, j: j < scene.origin(b, i) + length)
        case "global":
            length = draw(PREFIX)

            def among(b: int, i: int, position: int) -> bool:
                return position < scene.origin(b, i) + length

            return Meaning(
                lambda: regard.Global(length),
                lambda b, h, i, j: among(b, i, j) or among(b, i, scene.stand(b, i)),
            )
        case "lengths":
            starts = [draw(UP_TO[scene.keys]) for _ in range(scene.batch)]
            lengths = [draw(UP_TO[scene.keys - start]) for start in starts]
            return Meaning(
                lambda: regard.Lengths(lengths, start=starts),
                lambda b, h, i, j: starts[b] <= j < starts[b] + lengths[b],
            )
        case "strided" if dense:
            stride = 1 + draw(BESIDE)
            return Meaning(lambda: regard.Strided(stride), lambda b, h, i, j: (j - scene.stand(b, i)) % stride == 0)
        case "blocks":
            size = 1 + draw(BESIDE)

            def number(b: int, i: int, position: int) -> int:
                return (position - scene.origin(b, i)) // size

            return Meaning(
                lambda: regard.Blocks(size),
                lambda b, h, i, j: number(b, i, scene.stand(b, i)) == number(b, i, j),
            )
        case "dense" if dense:
            full = (scene.batch, scene.heads, scene.queries, scene.keys)
            shape = tuple(size if draw(BOOLEAN) else 1 for size in full)
            tensor = torch.rand(shape, generator=torch.Generator().manual_seed(draw(SEED))) < 0.6
            table = tensor.expand(full).tolist()
            leading = next((axis for axis in range(4) if shape[axis] > 1), 3)  # dimensions that may be left out
            cut = draw(UP_TO[leading])
            return Meaning(lambda: regard.Dense(tensor.reshape(shape[cut:])), lambda b, h, i, j: table[b][h][i][j])
        case _:
            return Meaning(regard.Causal, lambda b, h, i, j: j <= scene.stand(b, i))


@st.composite
def expressions(draw: st.DrawFn, scene: Scene, *, dense: bool = True) -> Meaning:
    """Up to three masks joined by `&`, `|` and `~`; in a packed scene one of them is its `Documents`."""
    count = draw(FEW)
    meanings = [leaf(draw, scene, dense=dense) for _ in range(count)]
    if scene.packing is not None:
        meanings[draw(UP_TO[count - 1])] = _documents(scene.packing)
    meaning = _negated(draw, meanings[0])
    for other in meanings[1:]:
        join = _both if draw(BOOLEAN) else _either
        meaning = _negated(draw, join(meaning, _negated(draw, other)))
    return meaning


def _documents(packing: Packing) -> Meaning:
    def sees(row: int, head: int, query: int, key: int) -> bool:
        _, low, high = packing.document(row, query)
        return low <= key < high

    return Meaning(packing.mask, sees)


def _both(left: Meaning, right: Meaning) -> Meaning:
    return Meaning(lambda: left.mask & right.mask, lambda *pair: left.sees(*pair) and right.sees(*pair))


def _either(left: Meaning, right: Meaning) -> Meaning:
    return Meaning(lambda: left.mask | right.mask, lambda *pair: left.sees(*pair) or right.sees(*pair))


def _negated(draw: st.DrawFn, inner: Meaning) -> Meaning:
    """The complement, one time in three."""
    if draw(FEW) < 3:
        return inner
    return Meaning(lambda: ~inner.mask, lambda *pair: not inner.sees(*pair))
