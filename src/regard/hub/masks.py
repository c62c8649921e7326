"""Masks of `transformers` as masks of Regard.

A model of `transformers` says its mask as a function of a batch row, a head, a query and a key. Those that
`transformers` itself makes are recognised and written as intervals of keys; any other is asked about every pair, a
block of queries at a time. Where two intervals a query say all of it, they are the mask; otherwise it is kept whole.
Nothing is concluded from a model's configuration.
"""

import inspect
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor
from torch.utils._pytree import tree_map_only
from transformers import masking_utils
from transformers.masking_utils import and_masks, padding_mask_function, prepare_padding_mask, sdpa_mask

from regard.attention import intervals as sets
from regard.attention.layouts import Dense
from regard.attention.masks import Mask
from regard.attention.place import Place
from regard.hub.told import Told

PAIRS = 2**22  # that are asked about at a time

MaskFunction = Callable[..., Any]


class MaskTensor(Tensor):
    """A mask on its way through a model, as a boolean tensor `(batch, 1, queries, keys)` that has no numbers yet.

    Code of a model that computes with it gets them all, at O(n^2) memory; what only hands it on costs nothing.
    (Torch calls the two methods below otherwise than it annotates them: hence the ignored types.)
    """

    mask: Mask

    @staticmethod
    def __new__(cls, mask: Mask, shape: tuple[int, int, int, int], device: torch.device) -> "MaskTensor":
        made: MaskTensor = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=torch.bool, device=device)
        made.mask = mask
        return made

    def dense(self) -> Bool[Tensor, "batch 1 queries keys"]:
        """The numbers."""
        batch, _, queries, keys = self.shape
        allowed = self.mask.allowed(Place(batch=batch, heads=1, queries=queries, keys=keys, device=self.device))
        return allowed.expand(*self.shape).contiguous()

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"MaskTensor({self.mask!r}, {tuple(self.shape)})"

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        if func in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            (given,) = args
            return cls(given.mask, tuple(given.shape), given.device)
        args, kwargs = tree_map_only(MaskTensor, MaskTensor.dense, (args, kwargs or {}))
        return func(*args, **kwargs)


def mask(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: int | Tensor = 0,
    kv_offset: int = 0,
    mask_function: MaskFunction = masking_utils.causal_mask_function,
    attention_mask: Bool[Tensor, "batch seen"] | None = None,
    use_vmap: bool = False,
    device: torch.device | str = "cpu",
    **_: Any,
) -> Tensor:
    """What `transformers` asks an attention for: the mask of a forward pass, which its layers share.

    The arguments are those of `transformers.masking_utils.sdpa_mask`.
    """
    if torch.compiler.is_compiling():  # a graph knows no masks of ours
        return _dense_mask(
            batch_size,
            q_length,
            kv_length,
            q_offset,
            kv_offset,
            mask_function=mask_function,
            attention_mask=attention_mask,
            use_vmap=use_vmap,
            device=device,
        )
    padding = prepare_padding_mask(attention_mask, kv_length, kv_offset)
    if padding is not None:
        mask_function = and_masks(mask_function, padding_mask_function(padding))
    asked = Asked(
        mask_function, batch_size, q_length, kv_length, int(q_offset), int(kv_offset), torch.device(device), use_vmap
    )
    return MaskTensor(asked.mask(), (batch_size, 1, q_length, kv_length), asked.device)


class Asked:
    """A mask function, and for which pairs it is asked."""

    def __init__(
        self,
        function: MaskFunction,
        batch: int,
        queries: int,
        keys: int,
        query_offset: int,
        key_offset: int,
        device: torch.device,
        use_vmap: bool,
    ) -> None:
        self.function, self.batch, self.queries, self.keys = function, batch, queries, keys
        self.query_offset, self.key_offset, self.device, self.use_vmap = query_offset, key_offset, device, use_vmap

    def mask(self) -> Mask:
        bounds = recognised(self.function, self)
        if bounds is not None and bounds.shape[-2] <= 2:
            return Told(bounds, self.queries, self.keys)
        return self.evaluated()

    def evaluated(self) -> Mask:
        """The mask from what the function says of every pair."""
        step = max(PAIRS // max(self.batch * self.keys, 1), 1)
        blocks = [(start, min(start + step, self.queries)) for start in range(0, self.queries, step)]
        found: list[Tensor] = []
        for block in blocks:
            bounds = runs(self.allowed(*block))
            if bounds is None:  # asked again, so that no more is held than the mask itself
                return Dense(torch.cat([self.allowed(*block) for block in blocks], 2))
            found.append(bounds)
        bounds = torch.cat(found, 2) if found else torch.zeros(1, 1, 0, 1, 2, dtype=torch.int64, device=self.device)
        return Told(sets.tidy(bounds, self.keys), self.queries, self.keys)

    def allowed(self, start: int, stop: int) -> Bool[Tensor, "batch 1 queries keys"]:
        """Which keys some queries may see, as `transformers` itself asks."""
        return _dense_mask(
            self.batch,
            stop - start,
            self.keys,
            self.query_offset + start,
            self.key_offset,
            mask_function=self.function,
            use_vmap=self.use_vmap,
            device=self.device,
        )

    @property
    def query_index(self) -> Int[Tensor, "queries"]:
        return torch.arange(self.queries, device=self.device) + self.query_offset


def _dense_mask(*sizes: int | Tensor, **options: Any) -> Tensor:
    """The boolean mask that `transformers` makes for torch's fused call, always whole."""
    given: Any = sizes
    options |= {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    found = sdpa_mask(*given, **options)
    assert found is not None
    return found


def runs(allowed: Bool[Tensor, "batch 1 queries keys"]) -> Int[Tensor, "batch 1 queries 2 2"] | None:
    """The keys that each query sees as two intervals, the second of which may be empty; None where it takes more."""
    keys = allowed.shape[-1]
    before = torch.nn.functional.pad(allowed[..., :-1], (1, 0))
    after = torch.nn.functional.pad(allowed[..., 1:], (0, 1))
    begins, ends = allowed & ~before, allowed & ~after
    count = begins.sum(-1)
    if keys == 0 or (count.numel() and int(count.max()) > 2):
        return None if keys else count.new_zeros(*allowed.shape[:-1], 2, 2)
    index = torch.arange(keys, device=allowed.device)

    def first(flags: Tensor) -> Tensor:
        return torch.where(flags, index, keys).amin(-1)

    def last(flags: Tensor) -> Tensor:
        return torch.where(flags, index, -1).amax(-1)

    two = count == 2
    low, high = first(begins), first(ends) + 1
    more, most = torch.where(two, last(begins), keys), torch.where(two, last(ends) + 1, keys)
    return torch.stack((low, high.clamp(max=keys), more, most), -1).unflatten(-1, (2, 2))


# Functions that transformers makes


def recognised(function: MaskFunction, asked: Asked) -> Int[Tensor, "rows 1 queries m 2"] | None:
    """The keys that a function of `transformers` allows, as intervals; None where it is not known here."""
    if function is masking_utils.causal_mask_function:
        return _between(None, asked.query_index + 1, asked)
    if function is masking_utils.bidirectional_mask_function:
        return _between(None, None, asked)
    made_by = _MAKERS.get(getattr(function, "__qualname__", ""))
    if made_by is None or getattr(function, "__module__", None) != masking_utils.__name__:
        return None
    return made_by(_enclosed(function), asked)


def _enclosed(function: MaskFunction) -> dict[str, Any]:
    """What a closure holds, by name."""
    return dict(inspect.getclosurevars(function).nonlocals)


def _between(low: Tensor | None, high: Tensor | None, asked: Asked) -> Int[Tensor, "rows 1 queries m 2"]:
    """Keys from `low` to before `high`, counted as the functions do."""
    index = asked.query_index
    low = torch.zeros_like(index) if low is None else low - asked.key_offset
    high = torch.full_like(index, asked.keys) if high is None else high - asked.key_offset
    low, high = torch.broadcast_tensors(low, high)
    bounds = torch.stack((low, high), -1)
    return sets.tidy(bounds.view(-1, 1, asked.queries, 1, 2), asked.keys)


def _all_of(held: dict[str, Any], asked: Asked) -> Tensor | None:
    return _joined(held, asked, sets.intersect)


def _any_of(held: dict[str, Any], asked: Asked) -> Tensor | None:
    return _joined(held, asked, sets.union)


def _joined(held: dict[str, Any], asked: Asked, join: Callable[[Tensor, Tensor, int], Tensor]) -> Tensor | None:
    found: Tensor | None = None
    for function in held["mask_functions"]:
        bounds = recognised(function, asked)
        if bounds is None:
            return None
        found = bounds if found is None else sets.tidy(join(found, bounds, asked.keys), asked.keys)
    return found


def _sliding(held: dict[str, Any], asked: Asked) -> Tensor:
    return _between(asked.query_index - held["sliding_window"] + 1, None, asked)


def _sliding_both_ways(held: dict[str, Any], asked: Asked) -> Tensor:
    index, size = asked.query_index, held["sliding_window"]
    return _between(index - size, index + size + 1, asked)


def _chunked(held: dict[str, Any], asked: Asked) -> Tensor:
    padding, size = held["left_padding"].to(asked.device).view(-1, 1), held["chunk_size"]
    first = torch.div(asked.query_index - padding, size, rounding_mode="floor") * size + padding
    return _between(first, first + size, asked)


def _padding(held: dict[str, Any], asked: Asked) -> Tensor | None:
    mask = held["padding_mask"][:, asked.key_offset : asked.key_offset + asked.keys].to(asked.device, torch.bool)
    return None if mask.shape[1] < asked.keys else runs(mask[:, None, None, :])


_MAKERS: dict[str, Callable[[dict[str, Any], Asked], Tensor | None]] = {
    "and_masks.<locals>.and_mask": _all_of,
    "or_masks.<locals>.or_mask": _any_of,
    "sliding_window_overlay.<locals>.inner_mask": _sliding,
    "sliding_window_bidirectional_overlay.<locals>.inner_mask": _sliding_both_ways,
    "chunked_overlay.<locals>.inner_mask": _chunked,
    "padding_mask_function.<locals>.inner_mask": _padding,
}
