"""The mechanism: score, normalise, mask, weigh, observe."""

from regard.attention.api import Plan, attend, observe, plan, scaled_dot_product_attention
from regard.attention.masks import Causal, Dense, Documents, Lengths, Mask, Prefix, Window
from regard.attention.normalizers import Normalizer, Softmax
from regard.attention.observations import (
    Entropy,
    LogSumExp,
    Observation,
    Received,
    Seen,
    TopK,
    TopKeys,
    Weights,
)
from regard.attention.scores import (
    Additive,
    Bias,
    Concat,
    Dot,
    General,
    Prepared,
    ScaledDot,
    Score,
    SoftCap,
    Term,
)
from regard.attention.watching import Watched, watch

__all__ = [
    "Additive",
    "Bias",
    "Causal",
    "Concat",
    "Dense",
    "Documents",
    "Dot",
    "Entropy",
    "General",
    "Lengths",
    "LogSumExp",
    "Mask",
    "Normalizer",
    "Observation",
    "Plan",
    "Prefix",
    "Prepared",
    "Received",
    "ScaledDot",
    "Score",
    "Seen",
    "SoftCap",
    "Softmax",
    "Term",
    "TopK",
    "TopKeys",
    "Watched",
    "Weights",
    "Window",
    "attend",
    "observe",
    "plan",
    "scaled_dot_product_attention",
    "watch",
]
