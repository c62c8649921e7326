"""Tasks that begin with a pretrained model of `transformers`, or run one as it is.

A run that began with one keeps its configuration and its tokenizer in the folder `pretrained`, and needs no hub again.
"""

from collections.abc import Callable
from typing import Any

from regard.data.tokenizer import Tokenizers
from regard.training import RunDirectory

HUB = "hf:"  # before the name of a model of transformers


def hub_name(given: str) -> str:
    """The name that `hf:NAME` gives.

    Raises:
        ValueError: something else.
    """
    if not given.startswith(HUB) or given == HUB:
        raise ValueError(f"a pretrained model is named hf:ID or hf:FOLDER, got {given!r}: try {HUB}{given}")
    return given.removeprefix(HUB)


def begin_with(recipe: Any, kind: Any, learn: Callable[[], Tokenizers]) -> tuple[Any, Tokenizers]:
    """The pretrained model that a recipe begins with, and its tokenizers; or no model, and tokenizers of its own."""
    if not recipe.start:
        return None, learn()
    return load_as_it_is(recipe.start, kind)


def reopen(run: RunDirectory, recipe: Any, kind: Any) -> tuple[Any, Tokenizers]:
    """The same of a run, the model with new weights."""
    if not recipe.start:
        return None, Tokenizers.load(run.tokenizer_path)
    from regard.hub.pretrained import build_pretrained

    return build_pretrained(run.pretrained_path, kind)


def begin_with_backbone(start: str | None) -> Any:
    """The pretrained visual encoder hf:NAME, with its weights; None where a recipe begins without one."""
    if not start:
        return None
    from regard.hub.backbone import load_backbone

    return load_backbone(hub_name(start))


def reopen_backbone(run: RunDirectory, start: str | None) -> Any:
    """The same of a run, with new weights."""
    if not start:
        return None
    from regard.hub.backbone import build_backbone

    return build_backbone(run.pretrained_path)


def save_backbone_beside(run: RunDirectory, backbone: Any) -> None:
    """Put what a pretrained visual encoder needs beside its weights into the run, if there is one."""
    if backbone is not None:
        from regard.hub.backbone import save_backbone

        save_backbone(backbone, run.pretrained_path)


def save_beside(run: RunDirectory, recipe: Any, model: Any, tokenizers: Tokenizers) -> None:
    """Put what a model needs beside its weights into the run."""
    if not recipe.start:
        tokenizers.save(run.tokenizer_path)
        return
    from regard.hub.pretrained import save_pretrained

    save_pretrained(model, tokenizers, run.pretrained_path)


def load_as_it_is(name: str, kind: Any) -> tuple[Any, Tokenizers]:
    """The pretrained model `hf:NAME`, with its weights, and its tokenizers."""
    from regard.hub.pretrained import load_pretrained

    return load_pretrained(hub_name(name), kind)
