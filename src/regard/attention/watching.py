"""`watch`: record what a whole model attends to, while its code runs as it is."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import partial
from html import escape

import torch
from jaxtyping import Int
from torch import Tensor, nn

from regard.attention.call import Call
from regard.attention.kept import Kept
from regard.attention.observations import Observation, TopKeys, Total, each, join
from regard.attention.seen import Seen, named


@dataclass(eq=False)
class Watched(Mapping[str, Seen]):
    """What a model recorded: by a module's name, what its last call saw; `calls(name)` gives all of them in order."""

    observations: dict[str, Observation]
    layers: tuple[str, ...] | None = None  # patterns of the names that are recorded; None: all
    heads: tuple[int, ...] | None = None  # that are kept; None: all
    keeps: bool = False  # whether the calls themselves are kept
    _calls: dict[str, list[Seen]] = field(default_factory=dict)
    _kept: dict[str, list[Kept]] = field(default_factory=dict)
    _inside: list[str] = field(default_factory=list)

    def calls(self, name: str) -> list[Seen]:
        """Every call under this name, in order: in decoding, one a step."""
        if name not in self._calls:
            raise KeyError(f"no attention ran under {name!r}; there is: {', '.join(self._calls) or 'nothing'}")
        return self._calls[name]

    def stitched(self, name: str, rows: Int[Tensor, "sequences calls"] | None = None) -> Seen:
        """All calls under a name as one, their queries one after the other: of decoding the prompt, then every step.

        What speaks of keys is as wide as the last call, 0 where an earlier call had no such key.

        Args:
            name: of the module.
            rows: the batch row that each sequence had in each call, where a search reorders them (`beam_indices` of
                `generate`); calls beyond its columns are left out. As they are when not given.

        Raises:
            KeyError: nothing ran under this name.
            ValueError: for `Pooled` and `Rows`, which count the queries of one call.
        """
        calls = self.calls(name) if rows is None else self.calls(name)[: rows.shape[1]]
        found: dict[str, Tensor | TopKeys] = {}
        for key in calls[0]:
            observation = self.observations.get(key, Total())  # which an entropy brings along
            if observation.of_one_call:
                raise ValueError(f"{observation!r} counts the queries of one call: read them from calls({name!r})")
            pieces = [call[key] for call in calls]
            if rows is not None:
                pieces = [each(piece, partial(_take, rows=rows[:, at])) for at, piece in enumerate(pieces)]
            if observation.by_key:
                keys = max(piece.shape[-1] for piece in pieces)
                pieces = [torch.nn.functional.pad(piece, (0, keys - piece.shape[-1])) for piece in pieces]
            found[key] = torch.stack(pieces).sum(0) if observation.adds else join(pieces, 2)
        return Seen(found)

    def kept(self, name: str) -> list[Kept]:
        """Every call under this name itself, in order, to be asked again: of `watch(..., keep=True)`. All heads."""
        if not self.keeps:
            raise ValueError("the calls were not kept; watch with keep=True")
        self.calls(name)
        return self._kept[name]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._calls.clear()
        self._kept.clear()

    @property
    def inside(self) -> str:
        """The name of the module that runs."""
        return self._inside[-1] if self._inside else ""

    def wants(self) -> bool:
        """Whether the module that runs is to be recorded."""
        return self.layers is None or any(fnmatchcase(self.inside, pattern) for pattern in self.layers)

    def add(self, seen: Seen, call: Call, context: Tensor) -> None:
        if self.keeps:
            self._kept.setdefault(self.inside, []).append(Kept(call, context))
        self.record(seen)

    def record(self, seen: Seen) -> None:
        """Take what a call of the module that runs saw."""
        if self.heads is not None:
            heads = list(self.heads)
            seen = Seen({name: each(value, lambda tensor: tensor[:, heads]) for name, value in seen.items()})
        self._calls.setdefault(self.inside, []).append(seen)

    def __getitem__(self, name: str) -> Seen:
        return self.calls(name)[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._calls)

    def __len__(self) -> int:
        return len(self._calls)

    def __repr__(self) -> str:
        lines = [f"  {name or '(the model itself)'}: {self[name]!r} x {len(self.calls(name))}" for name in self]
        return "\n".join(["Watched:", *lines]) if lines else "Watched: nothing yet; run the model inside the with block"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th>{escape(name)}</th><td>{len(self.calls(name))} calls</td><td>{escape(repr(self[name]))}</td></tr>"
            for name in self
        )
        return f"<table>{rows}</table>"


_WATCHED: ContextVar[Watched | None] = ContextVar("regard_watched", default=None)


def current() -> Watched | None:
    """The recorder of the `watch` block that is running, if it wants this call; none when torch is compiling."""
    if torch.compiler.is_compiling():
        return None
    watched = _WATCHED.get()
    return watched if watched is None or watched.wants() else None


def _take(tensor: Tensor, rows: Tensor) -> Tensor:
    return tensor.index_select(0, rows.to(tensor.device))


@contextmanager
def watch(
    model: nn.Module,
    *observations: Observation,
    layers: str | Sequence[str] | None = None,
    heads: Sequence[int] | None = None,
    keep: bool = False,
    **names: Observation,
) -> Iterator[Watched]:
    """Record `observations` in every call of `regard.attend` and `regard.observe` that `model` makes in the block.

    Args:
        model: any module whose attention is Regard's.
        observations: what to record, such as `regard.TopK(8)`; two of a kind are told apart by name: `sinks=...`.
        layers: names of the modules that are recorded, or patterns of them: `"decoder.*.cross"`; all when not given.
            The others run as if nobody watched.
        heads: the heads whose results are kept, in this order; all when not given.
        keep: keep every call too, with its inputs and its context in their graph: `seen.kept(name)`. O(n) numbers,
            as wide as the model; what explanations need, and what answers a question that comes up later.

    Returns:
        A mapping from module name to `Seen`: `seen["decoder.layers.3.cross"].topk.keys`. A call that comes from no
        module's `forward` (from another method of the model, say) stands under "".

    Raises:
        ValueError: for a compiled model, a `watch` inside another, or layers that the model does not have.
    """
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        raise ValueError(
            "watch cannot look into a compiled module, whose recording was compiled away; watch the original: "
            "regard.watch(model._orig_mod, ...), or a model without model.compile()"
        )
    if _WATCHED.get() is not None:
        raise ValueError("watch is running already; give one watch all observations: regard.watch(model, a, b)")
    wanted = named(observations, names)
    if not wanted and not keep:
        raise ValueError("watch needs something to record: regard.watch(model, regard.TopK(8))")
    patterns = (layers,) if isinstance(layers, str) else None if layers is None else tuple(layers)
    every = [name for name, _ in model.named_modules()]
    for pattern in patterns or ():
        if not any(fnmatchcase(name, pattern) for name in every):
            near = get_close_matches(pattern, every, n=3, cutoff=0.0)
            raise ValueError(f"no module is called {pattern!r}; there is {', '.join(map(repr, near))}")
    watched = Watched(wanted, patterns, None if heads is None else tuple(heads), keep)
    thread = threading.get_ident()

    def enter(name: str):
        def hook(module: nn.Module, arguments: object) -> None:
            if threading.get_ident() == thread:
                watched._inside.append(name)

        return hook

    def leave(module: nn.Module, arguments: object, output: object) -> None:
        if threading.get_ident() == thread:
            watched._inside.pop()

    handles = []
    for name, module in model.named_modules():
        handles.append(module.register_forward_pre_hook(enter(name)))
        handles.append(module.register_forward_hook(leave, always_call=True))
    token = _WATCHED.set(watched)
    try:
        yield watched
    finally:
        _WATCHED.reset(token)
        for handle in handles:
            handle.remove()
