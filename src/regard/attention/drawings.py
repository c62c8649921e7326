"""Pictures of what was recorded, for notebooks: maps and strips of cells, the darker the more."""

import base64
import struct
import zlib
from html import escape

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from regard.attention.observations import TopKeys

HEADS = 8  # that are drawn; more are left out
CELLS = 128  # cells along a side at most; more are averaged
_PALE, _DEEP = (247, 251, 255), (8, 48, 107)


def drawing(name: str, result: Tensor | TopKeys) -> str:
    """The first batch row of a result as HTML: a map a head, or heads down and queries or keys across."""
    if isinstance(result, TopKeys):
        images, shape = _maps(_scattered(result)) if result.keys.numel() else [], f"{tuple(result.keys.shape)}"
    elif result.ndim == 4 and result.numel():
        images, shape = _maps(result[0].detach().float().cpu()), f"{tuple(result.shape)}"
    elif result.ndim == 3 and result.numel():
        images, shape = (
            [_image(result[0].detach().float().cpu(), high=12 * min(result.shape[1], 64))],
            f"{tuple(result.shape)}",
        )
    else:
        images, shape = [], f"{tuple(result.shape)}"
    return f"<tr><th>{escape(name)}</th><td>{shape}</td><td>{' '.join(images)}</td></tr>"


def _maps(heads: Float[Tensor, "heads rows columns"]) -> list[str]:
    images = [_image(one, high=96) for one in heads[:HEADS]]
    return [*images, f"and {len(heads) - HEADS} more heads"] if len(heads) > HEADS else images


def _scattered(topk: TopKeys) -> Float[Tensor, "heads rows columns"]:
    """The strongest weights of the first batch row where they stand, those of neighbours together."""
    keys, weights = topk.keys[0, :HEADS].cpu(), topk.weights[0, :HEADS].detach().float().cpu()
    heads, queries, _ = keys.shape
    most = int(keys.max()) + 1
    rows, columns = min(queries, CELLS), max(min(most, CELLS), 1)
    row = (torch.arange(queries) * rows // queries)[None, :, None]
    cell = row * columns + keys.clamp_min(0) * columns // max(most, 1)
    flat = torch.zeros(heads, rows * columns)
    return flat.scatter_add_(1, cell.flatten(1), weights.flatten(1)).view(heads, rows, columns)


def _image(cells: Float[Tensor, "rows columns"], *, high: int) -> str:
    """An image element, `high` pixels high; infinite and missing numbers are pale."""
    rows, columns = (min(size, CELLS) for size in cells.shape)
    cells = torch.where(cells.isfinite(), cells, 0.0)
    small = torch.nn.functional.adaptive_avg_pool2d(cells[None, None], (rows, columns))[0, 0]
    low, top = min(float(small.min()), 0.0), float(small.max())
    # The square root keeps small weights apart.
    depth = ((small - low) / max(top - low, 1e-9)).sqrt().unsqueeze(-1)
    pixels = (torch.tensor(_PALE) * (1 - depth) + torch.tensor(_DEEP) * depth).round().byte()
    data = base64.b64encode(_png(pixels)).decode()
    label = f"from {low:.3g} to {top:.3g}"
    return (
        f'<img alt="{label}" title="{label}" height="{high}" width="{max(96, min(3 * columns, 384))}" '
        f'style="image-rendering:pixelated;display:inline-block;margin:2px" src="data:image/png;base64,{data}">'
    )


def _png(pixels: UInt8[Tensor, "rows columns 3"]) -> bytes:
    """As PNG (ISO/IEC 15948): 8 bits a channel, lines unfiltered."""
    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + bytes(line) for line in pixels.flatten(1).tolist())

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", columns, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
