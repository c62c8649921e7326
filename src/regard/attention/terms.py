"""Terms: what is added to the scores of every pair, in float32; put there with `score + term`."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from regard.attention.place import Place

Positions = Tensor | None


class Term:
    """Base of all terms."""

    def matrix(self, place: Place) -> Float[Tensor, "rows heads queries keys"]:
        """What is added, on a whole call or on any block of it (dimensions of size 1 broadcast)."""
        raise NotImplementedError(f"{type(self).__name__} does not define matrix()")

    def check(self, place: Place) -> None:
        """Raise ValueError if this term was built for other sizes than the call's."""

    @property
    def of_one_sequence(self) -> bool:
        """Whether it takes queries and keys for positions of one sequence, as in self-attention."""
        return False

    @property
    def learns(self) -> bool:
        """Whether a gradient is wanted of it."""
        if not isinstance(self, nn.Module):
            return False
        return any(tensor.requires_grad for tensor in (*self.parameters(), *self.buffers()))


class Bias(nn.Module, Term):
    """A tensor added to the scores, with gradient: dense or broadcast to `(batch, heads, queries, keys)`.

    A parameter is registered as one, so that a layer that holds this term trains it: a learned bias for each key is
    `Bias(nn.Parameter(torch.zeros(heads, 1, keys)))`. It is added in float32; `-inf` hides a pair.
    """

    tensor: Tensor

    def __init__(self, tensor: Tensor) -> None:
        super().__init__()
        if not isinstance(tensor, Tensor) or not tensor.dtype.is_floating_point:
            given = str(tensor.dtype) if isinstance(tensor, Tensor) else type(tensor).__name__
            raise TypeError(
                f"Bias takes a floating-point tensor to add to the scores, got {given}; "
                "a boolean tensor of allowed pairs is a mask: mask=regard.Dense(tensor)"
            )
        if isinstance(tensor, nn.Parameter):
            self.tensor = tensor
        else:
            self.register_buffer("tensor", tensor, persistent=False)

    def __repr__(self) -> str:
        return f"Bias({tuple(self.tensor.shape)})"

    def check(self, place: Place) -> None:
        full = (place.batch, place.heads, place.queries, place.keys)
        shape = (1,) * (4 - self.tensor.ndim) + tuple(self.tensor.shape)
        if len(shape) != 4 or any(size not in (1, whole) for size, whole in zip(shape, full, strict=True)):
            raise ValueError(f"{self!r} does not broadcast to (batch, heads, queries, keys) = {full}")

    def matrix(self, place: Place) -> Float[Tensor, "rows heads queries keys"]:
        tensor = place.cut(self.tensor.view((1,) * (4 - self.tensor.ndim) + tuple(self.tensor.shape)))
        return tensor if tensor.dtype == torch.float64 else tensor.float()


@dataclass(frozen=True, eq=False)
class Alibi(Term):
    """`-slope[h] * |u_j - u_i|`: the further, the less; nothing is learned (Press et al. 2022).

    The slopes are the paper's, `2^(-8 (h + 1) / heads)` for a power of two, and for other numbers of heads those of
    the next lower power of two followed by every other one of the next higher.

    Args:
        heads: number of query heads.
        query_positions, key_positions: integer positions `u`, `(length,)` or `(batch, length)`; where the query
            stands and the key's number when not given. In cross-attention they have to be given.
    """

    heads: int
    query_positions: Positions = None
    key_positions: Positions = None

    def __post_init__(self) -> None:
        if self.heads < 1:
            raise ValueError(f"Alibi needs heads >= 1, got {self.heads}")
        _check_positions("Alibi", self.query_positions, self.key_positions)

    def __repr__(self) -> str:
        return f"Alibi(heads={self.heads})"

    @property
    def slopes(self) -> Float[Tensor, " heads"]:
        """The factor of each head."""
        lower = 2 ** int(math.log2(self.heads))
        slopes = [2.0 ** (-8.0 * (head + 1) / lower) for head in range(lower)]
        slopes += [2.0 ** (-4.0 * (2 * head + 1) / lower) for head in range(self.heads - lower)]
        return torch.tensor(slopes)

    @property
    def of_one_sequence(self) -> bool:
        return self.query_positions is None

    def check(self, place: Place) -> None:
        _check_heads(self, self.heads, place)
        _check_place(self, self.query_positions, self.key_positions, place)

    def matrix(self, place: Place) -> Float[Tensor, "rows heads queries keys"]:
        distance = _displacement(place, self.query_positions, self.key_positions).abs()
        return -self.slopes[place.head_slice].to(place.device).view(1, -1, 1, 1) * distance


@dataclass(frozen=True)
class T5Buckets:
    """Near displacements a bucket each, far ones by logarithm (Raffel et al. 2020, section 2.1).

    Args:
        count: buckets, half of them for each direction where `bidirectional`.
        max_distance: from here on, one bucket for all.
        bidirectional: whether what follows the query is told apart; otherwise it shares the bucket of distance 0.
    """

    count: int = 32
    max_distance: int = 128
    bidirectional: bool = True

    def __post_init__(self) -> None:
        near = self.count // (4 if self.bidirectional else 2)
        if near < 1:
            raise ValueError(f"T5Buckets needs a count >= 4, or 2 where it is not bidirectional, got {self.count}")
        if self.max_distance <= near:
            raise ValueError(
                f"T5Buckets({self.count}, ...) tells distances below {near} apart, so max_distance must be > {near}, "
                f"got {self.max_distance}"
            )

    def of(self, displacement: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        count = self.count // 2 if self.bidirectional else self.count
        first = count * (displacement > 0) if self.bidirectional else torch.zeros_like(displacement)
        distance = displacement.abs() if self.bidirectional else (-displacement).clamp_min(0)
        exact = count // 2
        ratio = (distance.clamp_min(1).float() / exact).log() / math.log(self.max_distance / exact)
        far = (exact + (ratio * (count - exact)).long()).clamp_max(count - 1)
        return first + torch.where(distance < exact, distance, far)


@dataclass(frozen=True)
class Clipped:
    """A bucket for each displacement from `-longest` to `longest`; what is further is clipped (Shaw et al. 2018)."""

    longest: int

    def __post_init__(self) -> None:
        if self.longest < 0:
            raise ValueError(f"Clipped needs longest >= 0, got {self.longest}")

    @property
    def count(self) -> int:
        return 2 * self.longest + 1

    def of(self, displacement: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        return displacement.clamp(-self.longest, self.longest) + self.longest


@dataclass(frozen=True)
class Grid:
    """A bucket for each displacement in a picture of `height` rows and `width` columns (Liu et al. 2021, Swin).

    A cell's position is `u = y * (2 width - 1) + x`, so that each displacement has a number of its own.
    """

    height: int
    width: int

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"Grid needs a height and a width >= 1, got {self.height} and {self.width}")

    @property
    def count(self) -> int:
        return (2 * self.height - 1) * (2 * self.width - 1)

    @property
    def positions(self) -> Int[Tensor, " cells"]:
        """The positions of the cells, row by row."""
        y, x = torch.arange(self.height).view(-1, 1), torch.arange(self.width)
        return (y * (2 * self.width - 1) + x).flatten()

    def of(self, displacement: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
        return displacement + (self.count - 1) // 2


class RelativeBias(nn.Module, Term):
    """`weight[h, bucket(u_j - u_i)]`: a learned scalar for each head and bucket of displacements; starts at zero.

    Args:
        heads: number of query heads.
        buckets: `T5Buckets()` (the default), `Clipped(longest)`, or `Grid(height, width)` for pictures.
        query_positions, key_positions: as for `Alibi`; those of the picture's cells when not given for a `Grid`.
    """

    query_positions: Tensor | None
    key_positions: Tensor | None

    def __init__(
        self,
        heads: int,
        buckets: T5Buckets | Clipped | Grid | None = None,
        *,
        query_positions: Positions = None,
        key_positions: Positions = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.buckets = heads, T5Buckets() if buckets is None else buckets
        _check_positions("RelativeBias", query_positions, key_positions)
        if query_positions is None and isinstance(self.buckets, Grid):
            query_positions = key_positions = self.buckets.positions
        self.register_buffer("query_positions", query_positions, persistent=False)
        self.register_buffer("key_positions", key_positions, persistent=False)
        self.weight = nn.Parameter(torch.zeros(heads, self.buckets.count, device=device, dtype=dtype))

    def __repr__(self) -> str:
        return f"RelativeBias({self.heads}, {self.buckets!r})"

    @property
    def of_one_sequence(self) -> bool:
        return self.query_positions is None

    def check(self, place: Place) -> None:
        _check_heads(self, self.heads, place)
        _check_place(self, self.query_positions, self.key_positions, place)

    def matrix(self, place: Place) -> Float[Tensor, "rows heads queries keys"]:
        bucket = self.buckets.of(_displacement(place, self.query_positions, self.key_positions)).squeeze(1)
        weight = self.weight[place.head_slice]
        weight = weight if weight.dtype == torch.float64 else weight.float()
        # A lookup by index_select, whose gradient is summed in a fixed order.
        found = weight.T.index_select(0, bucket.flatten()).view(*bucket.shape, len(weight))
        return found.permute(0, 3, 1, 2)


@dataclass(frozen=True, eq=False)
class Near(Term):
    """`-(j - center[i])^2 / (2 sigma^2)`: a Gaussian around a place in the keys, as `LocalPosition` predicts it.

    Args:
        center: `(batch, heads, queries)`, in keys; has a gradient.
        sigma: width of the Gaussian, in keys.
    """

    center: Float[Tensor, "batch heads queries"]
    sigma: float

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise ValueError(f"Near needs sigma > 0, got {self.sigma}")

    def __repr__(self) -> str:
        return f"Near(center={tuple(self.center.shape)}, sigma={self.sigma})"

    @property
    def learns(self) -> bool:
        return self.center.requires_grad

    def check(self, place: Place) -> None:
        wanted = (place.batch, place.heads, place.queries)
        if tuple(self.center.shape) != wanted:
            raise ValueError(f"{self!r} needs a center for each query: (batch, heads, queries) = {wanted}")

    def matrix(self, place: Place) -> Float[Tensor, "rows heads queries keys"]:
        center = place.cut_rows(self.center).unsqueeze(-1)
        center = center if center.dtype == torch.float64 else center.float()
        return -(place.key_index - center).square() / (2.0 * self.sigma**2)


def _displacement(place: Place, query: Positions, key: Positions) -> Int[Tensor, "rows 1 queries keys"]:
    """`u_j - u_i` for the pairs of this place."""
    at_query = place.stand.unsqueeze(-1)
    at_key = place.key_index.view(1, 1, 1, -1)
    if query is not None:
        query, key = query.to(place.device), (query if key is None else key).to(place.device)
        at_query = place.cut_rows(torch.atleast_2d(query).unsqueeze(1)).unsqueeze(-1)
        rows = torch.atleast_2d(key)[:, None, None]
        at_key = place.cut_keys(place.cut_rows(rows))
    return at_key - at_query


def _check_positions(name: str, query: Positions, key: Positions) -> None:
    if key is not None and query is None:
        raise ValueError(f"{name} has key_positions and no query_positions: give both, or query_positions for both")
    for positions in (query, key):
        if positions is None:
            continue
        if positions.dtype.is_floating_point or positions.dtype == torch.bool or positions.ndim not in (1, 2):
            raise TypeError(
                f"{name} takes integer positions of shape (length,) or (batch, length), got {positions.dtype} of shape "
                f"{tuple(positions.shape)}"
            )


def _check_heads(term: Term, heads: int, place: Place) -> None:
    if heads != place.heads:
        raise ValueError(f"{term!r} was built for {heads} heads, but the call has {place.heads}")


def _check_place(term: Term, query: Positions, key: Positions, place: Place) -> None:
    if query is None:
        check_one_sequence(term, place, "query_positions=..., key_positions=...")
        return
    for name, positions, size in (
        ("query_positions", query, place.queries),
        ("key_positions", query if key is None else key, place.keys),
    ):
        if positions.shape[-1] != size or (positions.ndim == 2 and positions.shape[0] not in (1, place.batch)):
            raise ValueError(
                f"{term!r} has {name} {tuple(positions.shape)}, but the call has {size} of them in {place.batch} rows"
            )


def check_one_sequence(what: object, place: Place, remedy: str) -> None:
    """Raise ValueError where queries and keys cannot be positions of one sequence, as in cross-attention."""
    if isinstance(place.offset, Tensor) or place.documents is not None:
        return
    if place.offset + place.queries > place.keys or (place.offset == 0 and place.queries != place.keys):
        earlier = place.keys - place.queries
        cached = f"; with a cache of earlier keys give offset={earlier}" if earlier > 0 else ""
        raise ValueError(
            f"{what!r} reads positions of one sequence, but {place.queries} queries at offset {place.offset} and "
            f"{place.keys} keys are none: in cross-attention give {remedy}{cached}"
        )
