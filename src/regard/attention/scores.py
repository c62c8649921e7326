"""Scores: how well a key answers a query, `s[i, j] = score(query_i, key_j)`.

A score defines itself twice. `matrix` is the formula, on a whole call or on any block of it: the backends in plain
torch compute that, on queries and keys that `project` has transformed once. `lower` rewrites it as one of the two
primitives that fused kernels serve (see `lowering`), or returns None where it has no such form.

Parameter-free scores are frozen dataclasses. What is learned is an `nn.Module`, and so is everything that can
hold something learned inside (`SoftCap`, sums with terms): an optimizer then finds the parameters.
"""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from regard.attention.lowering import AdditiveScores, DotScores, Lowered
from regard.attention.place import Place
from regard.attention.terms import Term


@dataclass(frozen=True, eq=False)
class Prepared:
    """Keys that a learned score has projected already: `score.prepare(key)`, taken by `attend` as its key.

    A recurrent decoder attends once a step to the same source, and so projects it once.
    """

    score: "Score"
    keys: Float[Tensor, "batch kv_heads keys hidden"]


class Score:
    """Base of all scores; see the module's text."""

    form: Literal["dot", "additive"] | None = None  # what `lower` gives, without computing it
    bare: bool = True  # whether its fused form is a product and nothing else, so that a cap can go around it
    capped: bool = False  # whether there is one

    def terms(self) -> tuple[Term, ...]:
        """The terms that were added to this score."""
        return ()

    @property
    def of_one_sequence(self) -> bool:
        """Whether it takes queries and keys for positions of one sequence, as in self-attention."""
        return any(term.of_one_sequence for term in self.terms())

    def project(
        self,
        query: Float[Tensor, "batch heads queries query_dim"],
        key: Float[Tensor, "batch kv_heads keys key_dim"],
        prepared: bool,
    ) -> tuple[Float[Tensor, "batch heads queries width"], Float[Tensor, "batch kv_heads keys width"]]:
        """What of the formula is done to each query and each key alone, in O(n)."""
        return query, key if prepared else self.prepare(key).keys

    def matrix(
        self,
        query: Float[Tensor, "batch heads queries query_dim"],
        key: Float[Tensor, "batch heads keys key_dim"],
        place: Place,
    ) -> Float[Tensor, "batch heads queries keys"]:
        """The formula, on projected queries and keys; grouped keys have been repeated."""
        raise NotImplementedError(f"{type(self).__name__} does not define matrix()")

    def width(self, query: Tensor, key: Tensor) -> int:
        """How many numbers `matrix` holds for each pair while it computes."""
        return 1

    def lower(
        self,
        query: Float[Tensor, "batch heads queries query_dim"],
        key: Float[Tensor, "batch kv_heads keys key_dim"],
        prepared: bool,
        place: Place,
    ) -> Lowered | None:
        """The same scores as a primitive for fused kernels, or None."""
        return None

    def prepare(self, key: Float[Tensor, "batch kv_heads keys key_dim"]) -> Prepared:
        """Project the keys once, for many calls of `attend`; scores that project nothing give them back as they are."""
        return Prepared(self, key)

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        """Raise ValueError if queries and keys (prepared or not) of these shapes cannot be scored."""
        if query[-1] != key[-1]:
            raise ValueError(
                f"{self!r} multiplies queries and keys, so they need one width: query has head_dim {query[-1]}, "
                f"key has {key[-1]}; for two widths use regard.General or regard.Additive"
            )

    def __add__(self, term: Term) -> "Score":
        if not isinstance(term, Term):
            hint = "; wrap the tensor: score + regard.Bias(tensor)" if isinstance(term, Tensor) else ""
            raise TypeError(f"only terms can be added to a score, not {type(term).__name__}{hint}")
        return WithTerm(self, term)


@dataclass(frozen=True)
class Dot(Score):
    """`s = query . key` (Luong et al. 2015)."""

    form = "dot"

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        return query @ key.mT

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> DotScores:
        return DotScores(query, key, scale=1.0)


@dataclass(frozen=True)
class ScaledDot(Score):
    """`s = scale * query . key`, with `scale = 1 / sqrt(head_dim)` when not given (Vaswani et al. 2017)."""

    form = "dot"
    scale: float | None = None

    def _scale(self, query: Tensor) -> float:
        return 1.0 / math.sqrt(max(query.shape[-1], 1)) if self.scale is None else self.scale

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        return (query * self._scale(query)) @ key.mT

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> DotScores:
        return DotScores(query, key, scale=self._scale(query))


class General(nn.Module, Score):
    """`s = query' W key`, one bilinear form a head (Luong et al. 2015, "general").

    Args:
        query_dim: width of the queries.
        key_dim: width of the keys; `query_dim` when not given.
        heads: number of query heads.
    """

    form = "dot"

    def __init__(
        self,
        query_dim: int,
        *,
        key_dim: int | None = None,
        heads: int = 1,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.query_dim, self.key_dim, self.heads = query_dim, key_dim or query_dim, heads
        self.weight = nn.Parameter(torch.empty(heads, query_dim, self.key_dim, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        bound = math.sqrt(6.0 / (self.query_dim + self.key_dim))  # Glorot and Bengio 2010
        nn.init.uniform_(self.weight, -bound, bound)

    def extra_repr(self) -> str:
        return f"query_dim={self.query_dim}, key_dim={self.key_dim}, heads={self.heads}"

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        expected, given = (self.heads, self.query_dim, self.key_dim), (query[1], query[-1], key[-1])
        if expected != given:
            raise ValueError(
                f"General was built for (heads, query_dim, key_dim) = {expected}, but the call has {given}; "
                f"build it as regard.General({given[1]}, key_dim={given[2]}, heads={given[0]})"
            )

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        return query @ self.weight.to(query.dtype), key

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        return query @ key.mT

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> DotScores:
        return DotScores(*self.project(query, key, prepared), scale=1.0)


class Additive(nn.Module, Score):
    """`s = w . tanh(W_q query + W_k key)` (Bahdanau et al. 2015); `Concat` is the same score (Luong et al. 2015).

    Args:
        query_dim: width of the queries.
        hidden: width of the hidden layer.
        key_dim: width of the keys; `query_dim` when not given.
        heads: number of query heads, each with its own `W_q` and `w`.
        kv_heads: number of key heads, each with its own `W_k`; `heads` when not given.
    """

    form = "additive"

    def __init__(
        self,
        query_dim: int,
        hidden: int,
        *,
        key_dim: int | None = None,
        heads: int = 1,
        kv_heads: int | None = None,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.query_dim, self.hidden, self.key_dim = query_dim, hidden, key_dim or query_dim
        self.heads, self.kv_heads = heads, kv_heads or heads
        self.query_weight = nn.Parameter(torch.empty(heads, query_dim, hidden, device=device, dtype=dtype))
        self.key_weight = nn.Parameter(torch.empty(self.kv_heads, self.key_dim, hidden, device=device, dtype=dtype))
        self.weight = nn.Parameter(torch.empty(heads, hidden, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight, width in ((self.query_weight, self.query_dim), (self.key_weight, self.key_dim)):
            bound = math.sqrt(6.0 / (width + self.hidden))  # Glorot and Bengio 2010
            nn.init.uniform_(weight, -bound, bound)
        nn.init.uniform_(self.weight, -math.sqrt(3.0 / self.hidden), math.sqrt(3.0 / self.hidden))

    def extra_repr(self) -> str:
        names = ("query_dim", "hidden", "key_dim", "heads", "kv_heads")
        return ", ".join(f"{name}={getattr(self, name)}" for name in names)

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        if prepared and key[-1] != self.hidden:
            raise ValueError(
                f"keys that Additive has prepared are {self.hidden} wide, these are {key[-1]}; prepare them: "
                "score.prepare(key)"
            )
        expected = (self.heads, self.kv_heads, self.query_dim, self.key_dim)
        given = (query[1], key[1], query[-1], self.key_dim if prepared else key[-1])
        if expected != given:
            raise ValueError(
                f"Additive was built for (heads, kv_heads, query_dim, key_dim) = {expected}, but the call has {given}; "
                f"build it as regard.Additive({given[2]}, {self.hidden}, key_dim={given[3]}, heads={given[0]}, "
                f"kv_heads={given[1]})"
            )

    def prepare(self, key: Float[Tensor, "batch kv_heads keys key_dim"]) -> Prepared:
        """`W_k key`, to be passed to `attend` as its key."""
        if key.ndim != 4 or (key.shape[1], key.shape[3]) != (self.kv_heads, self.key_dim):
            raise ValueError(
                f"prepare takes keys of shape (batch, kv_heads={self.kv_heads}, keys, key_dim={self.key_dim}), "
                f"got {tuple(key.shape)}"
            )
        return Prepared(self, key @ self.key_weight.to(key.dtype))

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        return query @ self.query_weight.to(query.dtype), key if prepared else self.prepare(key).keys

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        hidden = torch.tanh(query.unsqueeze(-2) + key.unsqueeze(-3))
        return (hidden @ self.weight[place.head_slice, None, :, None].to(query.dtype)).squeeze(-1)

    def width(self, query: Tensor, key: Tensor) -> int:
        return self.hidden

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> AdditiveScores:
        return AdditiveScores(*self.project(query, key, prepared), self.weight)


Concat = Additive


class SoftCap(nn.Module, Score):
    """`cap * tanh(score / cap)`: scores bounded by `cap` (Gemma 2, 2024); terms added outside are not capped."""

    def __init__(self, score: Score, cap: float) -> None:
        super().__init__()
        if not cap > 0:
            raise ValueError(f"SoftCap needs a cap > 0, got {cap}")
        self.score, self.cap = score, float(cap)
        # A cap around terms, around a row's own term or around tanh has no fused form.
        self.form = "dot" if score.form == "dot" and score.bare and not score.capped and not score.terms() else None
        self.capped = True

    @property
    def of_one_sequence(self) -> bool:
        return self.score.of_one_sequence

    def extra_repr(self) -> str:
        return f"{'' if isinstance(self.score, nn.Module) else f'{self.score!r}, '}cap={self.cap}"

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        self.score.check(query, key, prepared, place)

    def prepare(self, key: Tensor) -> Prepared:
        return Prepared(self, self.score.prepare(key).keys)

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        return self.score.project(query, key, prepared)

    def width(self, query: Tensor, key: Tensor) -> int:
        return self.score.width(query, key)

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        return self.cap * torch.tanh(self.score.matrix(query, key, place) / self.cap)

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> Lowered | None:
        inner = self.score.lower(query, key, prepared, place)
        if self.form == "dot" and isinstance(inner, DotScores):
            return DotScores(inner.query, inner.key, scale=inner.scale, softcap=self.cap)
        return None


class WithTerm(nn.Module, Score):
    """`score + term`; made by adding a term to a score."""

    def __init__(self, score: Score, term: Term) -> None:
        super().__init__()
        self.score, self.term = score, term
        self.form, self.capped = score.form, score.capped

    def terms(self) -> tuple[Term, ...]:
        return (*self.score.terms(), self.term)

    @property
    def of_one_sequence(self) -> bool:
        return self.score.of_one_sequence or self.term.of_one_sequence

    def __repr__(self) -> str:
        return f"{self.score!r} + {self.term!r}"

    def check(self, query: tuple[int, ...], key: tuple[int, ...], prepared: bool, place: Place) -> None:
        self.score.check(query, key, prepared, place)
        self.term.check(place)

    def prepare(self, key: Tensor) -> Prepared:
        return Prepared(self, self.score.prepare(key).keys)

    def project(self, query: Tensor, key: Tensor, prepared: bool) -> tuple[Tensor, Tensor]:
        return self.score.project(query, key, prepared)

    def width(self, query: Tensor, key: Tensor) -> int:
        return self.score.width(query, key)

    def matrix(self, query: Tensor, key: Tensor, place: Place) -> Float[Tensor, "batch heads queries keys"]:
        scores = self.score.matrix(query, key, place)
        return scores + self.term.matrix(place).to(scores.dtype)

    def lower(self, query: Tensor, key: Tensor, prepared: bool, place: Place) -> Lowered | None:
        inner = self.score.lower(query, key, prepared, place)
        return None if inner is None else inner.plus(self.term)
