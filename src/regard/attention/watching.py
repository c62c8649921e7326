"""`watch`: record what a whole model attends to, while its code runs as it is."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from html import escape

import torch
from torch import nn

from regard.attention.observations import Observation
from regard.attention.seen import Seen, named


@dataclass(eq=False)
class Watched(Mapping[str, Seen]):
    """What a model recorded: by a module's name, what its last call saw; `calls(name)` gives all of them in order."""

    observations: dict[str, Observation]
    _calls: dict[str, list[Seen]] = field(default_factory=dict)
    _inside: list[str] = field(default_factory=list)

    def calls(self, name: str) -> list[Seen]:
        """Every call under this name, in order: in decoding, one a step."""
        if name not in self._calls:
            raise KeyError(f"no attention ran under {name!r}; there is: {', '.join(self._calls) or 'nothing'}")
        return self._calls[name]

    def clear(self) -> None:
        """Forget what was recorded so far."""
        self._calls.clear()

    def add(self, seen: Seen) -> None:
        self._calls.setdefault(self._inside[-1] if self._inside else "", []).append(seen)

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
            f"<tr><th>{escape(name)}</th><td>{len(self.calls(name))} calls</td><td>{self[name]._repr_html_()}</td></tr>"
            for name in self
        )
        return f"<table>{rows}</table>"


_WATCHED: ContextVar[Watched | None] = ContextVar("regard_watched", default=None)


def current() -> Watched | None:
    """The recorder of the `watch` block that is running, read only when torch is not compiling."""
    return None if torch.compiler.is_compiling() else _WATCHED.get()


@contextmanager
def watch(model: nn.Module, *observations: Observation, **names: Observation) -> Iterator[Watched]:
    """Record `observations` in every call of `regard.attend` that `model` makes inside the block.

    Args:
        model: any module whose attention is Regard's.
        observations: what to record, such as `regard.TopK(8)`; two of a kind are told apart by name: `sinks=...`.

    Returns:
        A mapping from module name to `Seen`: `seen["decoder.layers.3.cross"].topk.keys`. A call that comes from no
        module's `forward` (from another method of the model, say) stands under "".

    Raises:
        ValueError: for a compiled model, or a `watch` inside another.
    """
    if any(hasattr(module, "_orig_mod") or module._compiled_call_impl is not None for module in model.modules()):
        raise ValueError(
            "watch cannot look into a compiled module, whose recording was compiled away; watch the original: "
            "regard.watch(model._orig_mod, ...), or a model without model.compile()"
        )
    if _WATCHED.get() is not None:
        raise ValueError("watch is running already; give one watch all observations: regard.watch(model, a, b)")
    wanted = named(observations, names)
    if not wanted:
        raise ValueError("watch needs something to record: regard.watch(model, regard.TopK(8))")
    watched = Watched(wanted)
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
