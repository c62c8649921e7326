"""Every score, normaliser, mask and observation by name, small, with distinct primes for sizes."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

import regard

BATCH, HEADS, KV_HEADS, QUERIES, KEYS, DIM, VALUE_DIM = 2, 4, 2, 11, 17, 6, 5
OFFSET = KEYS - QUERIES
WIDE = {"dtype": torch.float64}


def inputs(*, queries: int = QUERIES, keys: int = KEYS) -> list[Tensor]:
    """Queries, keys and values in float64, with gradients."""
    return [
        torch.randn(BATCH, heads, length, width, **WIDE).requires_grad_()
        for heads, length, width in ((HEADS, queries, DIM), (KV_HEADS, keys, DIM), (KV_HEADS, keys, VALUE_DIM))
    ]


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, **WIDE))


def _biased(score: regard.Score, term: nn.Module) -> regard.Score:
    """With a learned term that does not begin at zero."""
    with torch.no_grad():
        for parameter in term.parameters():
            parameter.normal_()
    return score + term


SCORES: dict[str, Callable[[], regard.Score]] = {
    "dot": regard.Dot,
    "scaled": regard.ScaledDot,
    "general": lambda: regard.General(DIM, heads=HEADS, **WIDE),
    "additive": lambda: regard.Additive(DIM, 7, heads=HEADS, kv_heads=KV_HEADS, **WIDE),
    "cosine": lambda: regard.Cosine(HEADS, **WIDE),
    "gaussian": lambda: regard.Gaussian(2.0),
    "kernel": regard.Kernel,
    "random features": lambda: regard.Kernel(regard.RandomFeatures(DIM, 13).double()),
    "network": lambda: regard.Network(nn.Sequential(nn.Linear(2 * DIM, 7), nn.Tanh(), nn.Linear(7, 1)).double()),
    "relative keys": lambda: regard.RelativeKeys(DIM, 3, heads=HEADS, **WIDE),
    "transformer-xl": lambda: regard.RelativeKeys(DIM, 3, heads=HEADS, shared=False, biases=True, **WIDE),
    "soft cap": lambda: regard.SoftCap(regard.ScaledDot(), 2.0),
    "cap of a sum": lambda: regard.SoftCap(regard.Dot() + regard.Bias(_parameter(QUERIES, KEYS)), 2.0),
    "alibi": lambda: regard.ScaledDot() + regard.Alibi(HEADS),
    "t5": lambda: _biased(regard.Dot(), regard.RelativeBias(HEADS, regard.T5Buckets(8, 16), **WIDE)),
    "clipped": lambda: _biased(regard.ScaledDot(), regard.RelativeBias(HEADS, regard.Clipped(3), **WIDE)),
    "bias": lambda: regard.ScaledDot() + regard.Bias(_parameter(BATCH, HEADS, QUERIES, KEYS)),
    "key bias": lambda: regard.ScaledDot() + regard.Bias(_parameter(HEADS, 1, KEYS)),
    "near": lambda: regard.ScaledDot() + regard.Near(KEYS * torch.rand(BATCH, HEADS, QUERIES, **WIDE), 2.0),
}

NORMALIZERS: dict[str, Callable[[], regard.Normalizer]] = {
    "softmax": lambda: regard.Softmax(0.8),
    "sink": lambda: regard.Softmax(sink=_parameter(HEADS)),
    "off by one": lambda: regard.Softmax(sink=0.0),
    "sigmoid": regard.Sigmoid,
    "biased sigmoid": lambda: regard.Sigmoid(_parameter(HEADS)),
    "sparsemax": regard.Sparsemax,
    "entmax15": regard.Entmax15,
    "entmax": lambda: regard.Entmax(nn.Parameter(torch.tensor([1.2, 1.5, 1.9, 2.6], **WIDE))),
    "top-k": lambda: regard.TopKSoftmax(3),
    "hard": regard.Hard,
    "gumbel": lambda: regard.Hard(0.7, gumbel=True),
}

MASKS: dict[str, Callable[[], regard.Mask | None]] = {
    "none": lambda: None,
    "causal": regard.Causal,
    "window and prefix": lambda: regard.Causal() & regard.Window(4) | regard.Prefix(2),
    "padding": lambda: regard.Causal() & regard.Lengths([9, 0]),
    "documents": lambda: regard.Documents([[4, 7], [11, 0]], [[6, 11], [10, 7]]),
    "strided": lambda: regard.Strided(3),
    "blocks": lambda: regard.Blocks(4),
    "layout": lambda: regard.Blocks(4, torch.tensor([[True, False, True, False, True]] * 5)),
    "heads": lambda: regard.Dense(
        torch.arange(BATCH * HEADS * QUERIES * KEYS).view(BATCH, HEADS, QUERIES, KEYS) % 3 > 0
    ),
}

RECORD: dict[str, regard.Observation] = {
    "weights": regard.Weights(),
    "topk": regard.TopK(3),
    "entropy": regard.Entropy(),
    "received": regard.Received(),
    "logsumexp": regard.LogSumExp(),
    "maxscore": regard.MaxScore(),
    "total": regard.Total(),
    "mass": regard.Mass([0, -1]),
    "distance": regard.Distance(),
    "pooled": regard.Pooled(3, 4),
    "rows": regard.Rows([-1, 2, 2, 0]),
}


def learned(*parts: object) -> list[Tensor]:
    """The parameters of scores and normalisers."""
    return [parameter for part in parts if isinstance(part, nn.Module) for parameter in part.parameters()]


def tensors_of(seen: regard.Seen) -> dict[str, Tensor]:
    """Every tensor that was recorded."""
    found: dict[str, Tensor] = {}
    for name, result in seen.items():
        if isinstance(result, regard.TopKeys):
            found |= {f"{name}.keys": result.keys, f"{name}.weights": result.weights}
        else:
            found[name] = result
    return found
