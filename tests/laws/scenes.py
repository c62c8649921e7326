"""What the laws are drawn from: sizes and positions of a call, and masks together with what they mean.

The meaning is written here a second time, as a predicate on Python integers, so that nothing is checked against
itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import torch
from hypothesis import strategies as st
from torch import Tensor

import regard
from regard.attention.place import Place

LENGTHS = st.sampled_from((1, 2, 3, 5, 7, 11))


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


@st.composite
def splits(draw: st.DrawFn, total: int, parts: int) -> list[int]:
    """`parts` lengths >= 0 that add up to `total`."""
    cuts = sorted(draw(st.lists(st.integers(0, total), min_size=parts - 1, max_size=parts - 1)))
    return [high - low for low, high in zip([0, *cuts], [*cuts, total], strict=True)]


@st.composite
def scenes(draw: st.DrawFn, *, packed: bool | None = None, square: bool = False) -> Scene:
    """Any sizes and offsets; packed or not, or either where `packed` is not given."""
    batch, heads = draw(st.sampled_from((1, 2, 3))), draw(st.sampled_from((1, 2, 3)))
    queries = draw(LENGTHS)
    keys = queries if square else draw(LENGTHS)
    offset = draw(
        st.one_of(st.just(0), st.integers(-3, 7), st.lists(st.integers(-3, 7), min_size=batch, max_size=batch))
    )
    packing = None
    if draw(st.booleans()) if packed is None else packed:
        documents = draw(st.integers(1, 3))
        packing = Packing(*([draw(splits(size, documents)) for _ in range(batch)] for size in (queries, keys)))
    return Scene(batch=batch, heads=heads, queries=queries, keys=keys, offset=offset, packing=packing)


@st.composite
def leaves(draw: st.DrawFn, scene: Scene, *, dense: bool = True) -> Meaning:
    """One mask, of any kind but `Documents`."""
    kinds = ["causal", "window", "prefix", "lengths", "dense"]
    match draw(st.sampled_from(kinds if dense else kinds[:-1])):
        case "causal":
            return Meaning(regard.Causal, lambda b, h, i, j: j <= scene.stand(b, i))
        case "window":
            left, right = draw(st.integers(0, 4)), draw(st.none() | st.integers(0, 4))
            after = left if right is None else right
            return Meaning(
                lambda: regard.Window(left, right),
                lambda b, h, i, j: scene.stand(b, i) - left <= j <= scene.stand(b, i) + after,
            )
        case "prefix":
            length = draw(st.integers(0, 12))
            return Meaning(lambda: regard.Prefix(length), lambda b, h, i, j: j < scene.origin(b, i) + length)
        case "lengths":
            starts = [draw(st.integers(0, scene.keys)) for _ in range(scene.batch)]
            lengths = [draw(st.integers(0, scene.keys - start)) for start in starts]
            return Meaning(
                lambda: regard.Lengths(lengths, start=starts),
                lambda b, h, i, j: starts[b] <= j < starts[b] + lengths[b],
            )
        case _:
            full = (scene.batch, scene.heads, scene.queries, scene.keys)
            shape = tuple(draw(st.sampled_from((1, size))) for size in full)
            seed = draw(st.integers(0, 99))
            tensor = torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6
            table = tensor.expand(full).tolist()
            axes = draw(st.integers(0, next((axis for axis in range(4) if shape[axis] > 1), 3)))
            return Meaning(lambda: regard.Dense(tensor.reshape(shape[axes:])), lambda b, h, i, j: table[b][h][i][j])


@st.composite
def expressions(draw: st.DrawFn, scene: Scene, *, dense: bool = True) -> Meaning:
    """Up to three masks joined by `&`, `|` and `~`; in a packed scene one of them is its `Documents`."""
    count = draw(st.integers(1, 3))
    meanings = [draw(leaves(scene, dense=dense)) for _ in range(count)]
    if scene.packing is not None:
        meanings[draw(st.integers(0, count - 1))] = _documents(scene.packing)
    meaning = _negated(draw, meanings[0])
    for other in meanings[1:]:
        join = draw(st.sampled_from((_both, _either)))
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
    if draw(st.integers(0, 2)) < 2:
        return inner
    return Meaning(lambda: ~inner.mask, lambda *pair: not inner.sees(*pair))
