"""Normalisers: from the scores a query gives to its keys to weights, `p[i, :] = normalize(s[i, allowed(i)])`.

Each is its definition, on whole rows: of a whole call, or of any block of queries. A query that may see nothing
gets zero weights and zero gradients. What is learned makes a normaliser an `nn.Module`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from regard.attention.place import Place
from regard.attention.random import uniform

STEPS = 50  # of Newton's method, which needs about ten

Scores = Float[Tensor, "batch heads queries keys"]
Allowed = Bool[Tensor, "rows heads_or_1 queries_or_1 keys"]


class Normalizer:
    """Base of all normalisers."""

    sums_to_one: bool = True  # whether the weights of a query that sees anything do
    draws: bool = False  # whether it draws random numbers

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        """The definition. What differs by head needs the `place`, what draws random numbers the `seed` too."""
        raise NotImplementedError(f"{type(self).__name__} does not define weights()")

    def check(self, place: Place) -> None:
        """Raise ValueError if this normaliser was built for other sizes than the call's."""


def _hidden(scores: Tensor, allowed: Tensor | None) -> tuple[Tensor, Tensor]:
    """The scores with -inf where nothing may be seen, and which rows have nothing else."""
    if allowed is not None:
        scores = scores.masked_fill(~allowed, -torch.inf)
    return scores, scores.detach().amax(-1, keepdim=True) == -torch.inf


def _softmax(scores: Tensor, allowed: Tensor | None) -> Tensor:
    scores, empty = _hidden(scores, allowed)
    # Rows of -inf alone (masked, or hidden by a bias) have no softmax: they are put aside, without NaN.
    if not torch.compiler.is_compiling() and not empty.any():
        return torch.softmax(scores, -1)
    return torch.softmax(scores.masked_fill(empty, 0.0), -1).masked_fill(empty, 0.0)


class Softmax(nn.Module, Normalizer):
    """`p[j] = exp(s[j] / temperature) / (exp(sink) + sum_k exp(s[k] / temperature))` over the allowed keys.

    Args:
        temperature: what scores are divided by.
        sink: a score that takes weight and has no value, so that the weights may sum to less than one: `(heads,)`,
            learned where it is a parameter (OpenAI 2025, gpt-oss), or one number; 0 is "off by one" (Miller 2023).
            The temperature does not touch it. None: no sink.
    """

    sink: Tensor | None

    def __init__(self, temperature: float = 1.0, sink: Tensor | float | None = None) -> None:
        super().__init__()
        if not temperature > 0:
            raise ValueError(f"Softmax needs a temperature > 0, got {temperature}")
        self.temperature = float(temperature)
        if isinstance(sink, (int, float)):
            sink = torch.tensor([float(sink)])
        if sink is not None and sink.ndim != 1:
            raise ValueError(f"Softmax takes a sink of shape (heads,), or a number, got {tuple(sink.shape)}")
        self.sums_to_one = sink is None
        if isinstance(sink, nn.Parameter):
            self.sink = sink
        else:
            self.register_buffer("sink", sink, persistent=False)

    def __repr__(self) -> str:
        options = [] if self.temperature == 1.0 else [f"temperature={self.temperature}"]
        options += [] if self.sink is None else [f"sink={tuple(self.sink.shape)}"]
        return f"Softmax({', '.join(options)})"

    def check(self, place: Place) -> None:
        if self.sink is not None and len(self.sink) not in (1, place.heads):
            raise ValueError(f"{self!r} has a sink for {len(self.sink)} heads, but the call has {place.heads}")

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if scores.shape[-1] == 0:
            return scores
        if self.temperature != 1.0:
            scores = scores / self.temperature
        if self.sink is None:
            return _softmax(scores, allowed)
        sink = self.sink.to(scores.dtype)
        if place is not None and len(sink) > 1:
            sink = sink[place.head_slice]
        sink = sink.view(1, -1, 1, 1).expand(*scores.shape[:3], 1)
        if allowed is not None:
            scores = scores.masked_fill(~allowed, -torch.inf)
        return _softmax(torch.cat((scores, sink), -1), None)[..., :-1]


class Sigmoid(nn.Module, Normalizer):
    """`p[j] = sigmoid(s[j] + bias)`: every key for itself (Ramapuram et al. 2025).

    Args:
        bias: a number, or `(heads,)`, learned where it is a parameter; the paper's choice is `-ln(keys)`, the
            default.
    """

    sums_to_one = False
    bias: Tensor | None

    def __init__(self, bias: Tensor | float | None = None) -> None:
        super().__init__()
        if isinstance(bias, (int, float)):
            bias = torch.tensor([float(bias)])
        if bias is not None and bias.ndim != 1:
            raise ValueError(f"Sigmoid takes a bias of shape (heads,), or a number, got {tuple(bias.shape)}")
        if isinstance(bias, nn.Parameter):
            self.bias = bias
        else:
            self.register_buffer("bias", bias, persistent=False)

    def __repr__(self) -> str:
        return f"Sigmoid({'' if self.bias is None else tuple(self.bias.shape)})"

    def check(self, place: Place) -> None:
        if self.bias is not None and len(self.bias) not in (1, place.heads):
            raise ValueError(f"{self!r} has a bias for {len(self.bias)} heads, but the call has {place.heads}")

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if self.bias is None:
            keys = scores.shape[-1] if place is None else place.keys
            scores = scores - torch.log(torch.tensor(float(max(keys, 1)), dtype=scores.dtype, device=scores.device))
        else:
            bias = self.bias.to(scores.dtype)
            if place is not None and len(bias) > 1:
                bias = bias[place.head_slice]
            scores = scores + bias.view(1, -1, 1, 1)
        weights = torch.sigmoid(scores)
        return weights if allowed is None else weights.masked_fill(~allowed, 0.0)


@dataclass(frozen=True)
class Sparsemax(Normalizer):
    """`p = argmin_p |p - s|^2` on the simplex: `p[j] = max(s[j] - tau, 0)` (Martins and Astudillo 2016)."""

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if scores.shape[-1] == 0:
            return scores
        scores, empty = _below(scores, allowed)
        support = _support(scores, 1)
        # Given its support, the threshold is a mean: so the gradient, of any order, is plain.
        size = support.sum(-1, keepdim=True).clamp_min(1)
        tau = (scores.masked_fill(~support, 0.0).sum(-1, keepdim=True) - 1.0) / size
        return (scores - tau).masked_fill(~support, 0.0).clamp_min(0.0).masked_fill(empty, 0.0)


@dataclass(frozen=True)
class Entmax15(Normalizer):
    """alpha-entmax with alpha 1.5: `p[j] = max(s[j] / 2 - tau, 0)^2` (Peters et al. 2019)."""

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if scores.shape[-1] == 0:
            return scores
        scores, empty = _below(scores, allowed, 0.5)
        support = _support(scores, 2)
        # Given its support, the threshold is the lower root of a quadratic: gradients of any order are plain.
        size = support.sum(-1, keepdim=True).clamp_min(1)
        mean = scores.masked_fill(~support, 0.0).sum(-1, keepdim=True) / size
        spread = (scores - mean).masked_fill(~support, 0.0).square().sum(-1, keepdim=True)
        tau = mean - ((1.0 - spread) / size).clamp_min(torch.finfo(scores.dtype).tiny).sqrt()
        return (scores - tau).masked_fill(~support, 0.0).clamp_min(0.0).square().masked_fill(empty, 0.0)


class Entmax(nn.Module, Normalizer):
    """alpha-entmax: `p[j] = max((alpha - 1) s[j] - tau, 0)^(1 / (alpha - 1))` (Peters et al. 2019).

    alpha 1 is softmax and 2 sparsemax; the higher, the sparser. The threshold is found by bisection.

    Args:
        alpha: a number above 1, or a tensor of shape `(heads,)`, learned where it is a parameter
            (Correia et al. 2019).
    """

    alpha: Tensor

    def __init__(self, alpha: Tensor | float = 1.5) -> None:
        super().__init__()
        tensor = alpha if isinstance(alpha, Tensor) else torch.tensor([float(alpha)], dtype=torch.float64)
        if tensor.ndim != 1 or not bool((tensor > 1).all()):
            raise ValueError(
                f"Entmax needs alpha > 1, a number or one for each head, got {alpha}; alpha = 1 is regard.Softmax()"
            )
        if isinstance(tensor, nn.Parameter):
            self.alpha = tensor
        else:
            self.register_buffer("alpha", tensor, persistent=False)

    def __repr__(self) -> str:
        alpha = self.alpha.detach().flatten().tolist()
        return f"Entmax({alpha[0] if len(alpha) == 1 else tuple(self.alpha.shape)})"

    def check(self, place: Place) -> None:
        if len(self.alpha) not in (1, place.heads):
            raise ValueError(f"{self!r} has an alpha for {len(self.alpha)} heads, but the call has {place.heads}")

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if scores.shape[-1] == 0:
            return scores
        alpha = self.alpha.to(scores)
        if place is not None and len(alpha) > 1:
            alpha = alpha[place.head_slice]
        less = alpha.view(1, -1, 1, 1) - 1.0
        power = 1.0 / less
        scores, empty = _below(scores, allowed, less)
        with torch.no_grad():
            # The highest score is 0, and its weight at most 1 and at least 1 / keys.
            low = torch.full_like(scores[..., :1], -1.0)
            high = low.new_zeros(()) - float(scores.shape[-1]) ** -less
            for _ in range(64 if scores.dtype == torch.float64 else 32):
                tau = 0.5 * (low + high)
                too_much = (scores - tau).clamp_min(0.0).pow(power).sum(-1, keepdim=True) >= 1.0
                low, high = torch.where(too_much, tau, low), torch.where(too_much, high, tau)
            tau = low  # below the root, so that the largest key is in the support
            support = ~(scores <= tau)  # NaN is left in, to be seen
        # Two steps of Newton from the root stay there, and carry its first and second derivatives.
        for _ in range(2):
            weights = _powered(scores - tau, support, power)
            slope = _powered(scores - tau, support, power - 1.0).sum(-1, keepdim=True) * power
            slope = slope.masked_fill(empty, 1.0)
            tau = tau + (weights.sum(-1, keepdim=True) - 1.0) / slope
        weights = _powered(scores - tau, support, power).masked_fill(empty, 0.0)
        # Where alpha is high, the last bit of the threshold is a weight that counts.
        return weights / weights.sum(-1, keepdim=True).masked_fill(empty, 1.0)


def _powered(base: Tensor, support: Tensor, power: Tensor) -> Tensor:
    """`base^power` inside the support, 0 outside, where neither value nor gradient is to be looked at."""
    inside = torch.where(support, base, 1.0).clamp_min(torch.finfo(base.dtype).tiny)
    return torch.where(support, inside.pow(power), 0.0)


def _below(scores: Tensor, allowed: Tensor | None, scale: float | Tensor = 1.0) -> tuple[Tensor, Tensor]:
    """`scale` times how far each score is below its row's highest, at most 2; and which rows see nothing.

    The weights do not change with a shift, and what is more than 1 below has none.
    """
    scores, empty = _hidden(scores, allowed)
    top = scores.detach().amax(-1, keepdim=True).masked_fill(empty, 0.0)
    hidden = scores == -torch.inf
    below = (scores - top).masked_fill(hidden, 0.0) * scale  # no infinity meets the gradient of `scale`
    return below.masked_fill(hidden, -2.0).clamp_min(-2.0), empty


@torch.no_grad()
def _support(scores: Tensor, power: int) -> Tensor:
    """The keys j with `scores[j] > tau`, where `sum_j max(scores[j] - tau, 0)^power = 1`, power 1 or 2.

    Newton's steps, from below: the sum is convex in tau, so that they rise to the root and end there (for power 1
    they are Michelot's, 1986). A few passes over the row, where sorting it would take many.
    """
    tau = torch.full_like(scores[..., :1], -1.0)  # the highest score is 0, and its weight at most 1
    for _ in range(STEPS):
        above = (scores - tau).clamp_min(0.0)
        if power == 1:
            step = (above.sum(-1, keepdim=True) - 1.0) / (above > 0).sum(-1, keepdim=True).clamp_min(1)
        else:
            slope = 2.0 * above.sum(-1, keepdim=True)
            step = (above.square().sum(-1, keepdim=True) - 1.0) / slope.clamp_min(torch.finfo(scores.dtype).tiny)
        step = step.clamp_min(0.0)
        tau = tau + step
        if not torch.compiler.is_compiling() and not bool((step > torch.finfo(scores.dtype).eps).any()):
            break
    return ~(scores <= tau)  # NaN is left in, to be seen


@dataclass(frozen=True)
class TopKSoftmax(Normalizer):
    """Softmax over the `k` highest scores of a query, ties to the lower key (Zhao et al. 2019; Gupta et al. 2021)."""

    k: int
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if self.k < 1 or not self.temperature > 0:
            raise ValueError(f"TopKSoftmax needs k >= 1 and a temperature > 0, got {self.k} and {self.temperature}")

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if scores.shape[-1] == 0:
            return scores
        scores, _ = _hidden(scores, allowed)
        if self.k < scores.shape[-1]:
            scores = scores.masked_fill(~_highest(scores.detach(), self.k), -torch.inf)
        return _softmax(scores / self.temperature, None)


def _highest(scores: Tensor, k: int) -> Tensor:
    """The k highest scores of each row; of equal ones the first. NaN is the highest of all."""
    least = scores.topk(k, dim=-1).values[..., -1:]
    above = ~(scores <= least)
    equal = scores == least
    return above | (equal & (equal.cumsum(-1) <= k - above.sum(-1, keepdim=True)))


@dataclass(frozen=True)
class Hard(Normalizer):
    """All weight on the highest score, with the gradient of a softmax: straight-through (Bengio et al. 2013).

    Args:
        temperature: of the softmax whose gradient is taken.
        gumbel: sample the key in proportion to the softmax instead, by adding Gumbel noise to the scores
            (Jang et al. 2017). The noise is counter-based, as dropout's is.
    """

    temperature: float = 1.0
    gumbel: bool = False

    def __post_init__(self) -> None:
        if not self.temperature > 0:
            raise ValueError(f"Hard needs a temperature > 0, got {self.temperature}")

    @property
    def draws(self) -> bool:  # type: ignore[override]
        return self.gumbel

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if scores.shape[-1] == 0:
            return scores
        scores = scores / self.temperature
        if self.gumbel:
            if place is None:
                raise ValueError("Hard(gumbel=True) draws random numbers: it needs the place and the seed of its call")
            scores = scores - (-uniform(seed, place).log()).log().to(scores.dtype)
        scores, empty = _hidden(scores, allowed)
        # The highest score, and not the highest of a softmax, which rounds scores that are close to one number.
        return _StraightThrough.apply(_softmax(scores, None), _highest(scores.detach(), 1) & ~empty)


class _StraightThrough(torch.autograd.Function):
    """The one going forward, the gradient of the other going back."""

    @staticmethod
    def forward(ctx, soft: Tensor, hard: Tensor) -> Tensor:
        return torch.where(soft.isnan(), soft, hard.to(soft.dtype))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


@dataclass(frozen=True)
class Sum(Normalizer):
    """`p[j] = s[j] / sum_k s[k]`, for scores that are not negative: `Kernel`'s (Katharopoulos et al. 2020).

    A query whose scores are all zero has zero weights.
    """

    def weights(self, scores: Scores, allowed: Allowed | None, place: Place | None = None, seed: int = 0) -> Scores:
        if allowed is not None:
            scores = scores.masked_fill(~allowed, 0.0)
        total = scores.sum(-1, keepdim=True)
        return scores / total.masked_fill(total == 0, 1.0)
