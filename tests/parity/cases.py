"""Whole calls of `attend`, drawn at random, and their tensors in any dtype."""

from dataclasses import dataclass

import torch
from hypothesis import strategies as st
from tests.laws.scenes import Meaning, Scene, expressions, scenes
from torch import Tensor

import regard
from regard.attention.scores import Score

KINDS = ("dot", "scaled", "scale", "general", "additive", "capped", "unfused")
SCALE = 0.3  # of the kind "scale"
CAP = 1.7  # of the kinds "capped" and "unfused"
HIDDEN = 5  # of the kind "additive"


@dataclass(frozen=True, kw_only=True)
class Case:
    """One call: where it stands, what it scores with, and how large its numbers are."""

    scene: Scene
    mask: Meaning | None = None
    kind: str = "scaled"
    kv_heads: int = 1
    query_dim: int = 3
    key_dim: int = 3
    value_dim: int = 3
    bias: tuple[int, ...] | None = None
    bias_gradient: bool = True
    temperature: float = 1.0
    magnitude: float = 1.0
    prepared: bool = False
    seed: int = 0

    def tensors(self, dtype: torch.dtype) -> dict[str, Tensor]:
        """Leaves with gradient: inputs and `probe` (the gradient of the context) in `dtype`, what is learned wider."""
        scene, generator = self.scene, torch.Generator().manual_seed(self.seed)
        wide = torch.float64 if dtype == torch.float64 else torch.float32

        def draw(*shape: int, dtype: torch.dtype = dtype, scale: float = 1.0) -> Tensor:
            return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)

        query = draw(scene.batch, scene.heads, scene.queries, self.query_dim, scale=self.magnitude)
        key = draw(scene.batch, self.kv_heads, scene.keys, self.key_dim, scale=self.magnitude)
        value = draw(scene.batch, self.kv_heads, scene.keys, self.value_dim)
        probe = draw(scene.batch, scene.heads, scene.queries, self.value_dim)
        tensors = {"query": query, "key": key, "value": value, "probe": probe}
        if self.kind == "general":
            tensors["weight"] = draw(scene.heads, self.query_dim, self.key_dim, dtype=wide)
        if self.kind == "additive":
            tensors["query_weight"] = draw(scene.heads, self.query_dim, HIDDEN, dtype=wide)
            tensors["key_weight"] = draw(self.kv_heads, self.key_dim, HIDDEN, dtype=wide)
            tensors["weight"] = draw(scene.heads, HIDDEN, dtype=wide)
        if self.bias is not None:
            tensors["bias"] = draw(*self.bias, dtype=wide)
        fixed = {"probe"} if self.bias_gradient else {"probe", "bias"}
        return {name: tensor.requires_grad_(name not in fixed) for name, tensor in tensors.items()}

    def score(self, tensors: dict[str, Tensor]) -> Score:
        """The score under test, learned from `tensors`."""
        heads = {"heads": self.scene.heads, "key_dim": self.key_dim}
        bias = None if self.bias is None else regard.Bias(tensors["bias"])
        match self.kind:
            case "dot":
                score: Score = regard.Dot()
            case "scaled":
                score = regard.ScaledDot()
            case "scale":
                score = regard.ScaledDot(SCALE)
            case "general":
                score = regard.General(self.query_dim, **heads)
            case "additive":
                score = regard.Additive(self.query_dim, HIDDEN, kv_heads=self.kv_heads, **heads)
            case "capped":
                score = regard.SoftCap(regard.ScaledDot(), CAP)
            case "unfused":
                inner = regard.ScaledDot() if bias is None else regard.ScaledDot() + bias
                return regard.SoftCap(regard.SoftCap(inner, 2 * CAP), CAP)
        for name, _ in list(score.named_parameters()) if isinstance(score, torch.nn.Module) else ():
            score._parameters.pop(name)  # the case's own leaves, which have their dtype
            setattr(score, name, tensors[name])
        return score if bias is None else score + bias

    def attend(self, tensors: dict[str, Tensor], *, backend: str, **options: object) -> Tensor:
        """The call under test."""
        score = self.score(tensors)
        key = score.prepare(tensors["key"]) if self.prepared else tensors["key"]
        return regard.attend(
            tensors["query"],
            key,
            tensors["value"],
            score=score,
            normalize=regard.Softmax(self.temperature),
            mask=None if self.mask is None else self.mask.mask,
            offset=self.scene.offsets,
            backend=backend,
            **options,
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Any call at all."""
    masked = draw(st.booleans())
    scene = draw(scenes(packed=None if masked else False))
    kind = draw(st.sampled_from(KINDS))
    widths = st.sampled_from((1, 2, 3, 5, 7))
    query_dim = draw(widths)
    full = (scene.batch, scene.heads, scene.queries, scene.keys)
    shape = tuple(draw(st.sampled_from((1, size))) for size in full)[draw(st.integers(0, 4)) :]
    if len(shape) < 4:  # a shape that was cut must not hide an axis that counts
        shape = tuple(full[4 - len(shape) + axis] if size > 1 else 1 for axis, size in enumerate(shape))
    return Case(
        scene=scene,
        mask=draw(expressions(scene)) if masked else None,
        kind=kind,
        kv_heads=draw(st.sampled_from([n for n in (1, 2, 3) if scene.heads % n == 0])),
        query_dim=query_dim,
        key_dim=draw(widths) if kind in ("general", "additive") else query_dim,
        value_dim=draw(widths),
        bias=draw(st.sampled_from((None, shape))),
        bias_gradient=draw(st.booleans()),
        temperature=draw(st.sampled_from((1.0, 1.0, 0.7, 3.0))),
        magnitude=draw(st.sampled_from((1.0, 1.0, 1.0, 0.01, 10.0, 100.0))),
        prepared=draw(st.booleans()),
        seed=draw(st.integers(0, 9999)),
    )
