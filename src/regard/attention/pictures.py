"""Pictures of masks: text for a terminal, SVG for a notebook."""

from html import escape

from jaxtyping import Bool
from torch import Tensor

from regard.attention.layouts import Blocks, Dense
from regard.attention.masks import Mask
from regard.attention.padding import placed
from regard.attention.place import Place

SIZE = 12  # queries and keys that are drawn where the mask does not say how many there are
LARGEST = 64  # more are left out
CELL = 8  # pixels


def text_picture(mask: Mask, queries: int | None, keys: int | None, offset: int) -> str:
    """A line a query, a character a key; a block of lines for each batch row where they differ."""
    allowed, cut = _drawn(mask, queries, keys, offset)
    blocks = ["\n".join("".join("#" if may else "." for may in row) for row in rows) for rows in allowed.tolist()]
    return "\n\n".join(blocks) + (f"\n(the first {LARGEST} of more)" if cut else "")


def svg_picture(mask: Mask) -> str:
    """The first batch row's picture as SVG, with the mask's name under it."""
    allowed, cut = _drawn(mask, None, None, 0)
    rows = allowed[0].tolist() if len(allowed) else []
    height, width = CELL * len(rows), CELL * (len(rows[0]) if rows else 0)
    cells = "".join(
        f'<rect x="{CELL * x}" y="{CELL * y}" width="{CELL - 1}" height="{CELL - 1}" '
        f'fill="{"#2a6f97" if may else "#e9ecef"}"/>'
        for y, row in enumerate(rows)
        for x, may in enumerate(row)
    )
    label = escape(repr(mask)) + (f" (the first {LARGEST} of more)" if cut else "")
    return (
        f'<figure style="display:inline-block;margin:0.5em"><svg role="img" aria-label="{label}" width="{width}" '
        f'height="{height}">{cells}</svg><figcaption><code>{label}</code></figcaption></figure>'
    )


def _drawn(
    mask: Mask, queries: int | None, keys: int | None, offset: int
) -> tuple[Bool[Tensor, "rows queries keys"], bool]:
    """What the first head may see, and whether something was left out."""
    rows, own_queries, own_keys = mask.sizes()
    queries = queries or own_queries or own_keys or SIZE
    keys = keys or own_keys or queries
    place = placed(
        Place(batch=1 if rows is None else rows, heads=_heads(mask), queries=queries, keys=keys, offset=offset), mask
    )
    for part in mask.parts():
        part.check(place)
    allowed = mask.allowed(place)
    allowed = allowed.expand(allowed.shape[0], allowed.shape[1], queries, keys)[:, 0, :LARGEST, :LARGEST]
    return allowed, max(queries, keys) > LARGEST


def _heads(mask: Mask) -> int:
    """How many heads the mask tells apart."""
    parts = list(mask.parts())
    tensors = [part.tensor for part in parts if isinstance(part, Dense)]
    tensors += [part.layout for part in parts if isinstance(part, Blocks) and part.layout is not None]
    return max((tensor.shape[-3] for tensor in tensors if tensor.ndim > 2), default=1)
