"""The mechanism: score, normalise, mask, weigh, observe."""

from regard.attention.api import Plan, attend, observe, plan, scaled_dot_product_attention
from regard.attention.decode import decode
from regard.attention.layouts import Blocks, Dense
from regard.attention.location import LocalPosition, LocationAware
from regard.attention.masks import Causal, Global, Mask, Prefix, Strided, Window
from regard.attention.networks import Network, RelativeKeys
from regard.attention.normalizers import (
    Entmax,
    Entmax15,
    Hard,
    Normalizer,
    Sigmoid,
    Softmax,
    Sparsemax,
    Sum,
    TopKSoftmax,
)
from regard.attention.observations import (
    Distance,
    Entropy,
    LogSumExp,
    Mass,
    MaxScore,
    Observation,
    Pooled,
    Received,
    Rows,
    TopK,
    TopKeys,
    Total,
    Weights,
)
from regard.attention.padding import Documents, Lengths
from regard.attention.scores import Additive, Concat, Dot, General, Prepared, ScaledDot, Score, SoftCap
from regard.attention.seen import Seen
from regard.attention.similarities import Cosine, Gaussian, Kernel, RandomFeatures
from regard.attention.terms import Alibi, Bias, Clipped, Grid, Near, RelativeBias, T5Buckets, Term
from regard.attention.watching import Watched, watch

__all__ = [
    "Additive",
    "Alibi",
    "Bias",
    "Blocks",
    "Causal",
    "Clipped",
    "Concat",
    "Cosine",
    "Dense",
    "Distance",
    "Documents",
    "Dot",
    "Entmax",
    "Entmax15",
    "Entropy",
    "Gaussian",
    "General",
    "Global",
    "Grid",
    "Hard",
    "Kernel",
    "Lengths",
    "LocalPosition",
    "LocationAware",
    "LogSumExp",
    "Mask",
    "Mass",
    "MaxScore",
    "Near",
    "Network",
    "Normalizer",
    "Observation",
    "Plan",
    "Pooled",
    "Prefix",
    "Prepared",
    "RandomFeatures",
    "Received",
    "RelativeBias",
    "RelativeKeys",
    "Rows",
    "ScaledDot",
    "Score",
    "Seen",
    "Sigmoid",
    "SoftCap",
    "Softmax",
    "Sparsemax",
    "Strided",
    "Sum",
    "T5Buckets",
    "Term",
    "TopK",
    "TopKSoftmax",
    "TopKeys",
    "Total",
    "Watched",
    "Weights",
    "Window",
    "attend",
    "decode",
    "observe",
    "plan",
    "scaled_dot_product_attention",
    "watch",
]
