"""Looks to test with. `regard` is imported inside: the jaxtyping hook has to come before it."""

import struct
import zlib
from typing import Any

import torch

DOG = ("▁Ein ▁brau ner ▁Hund ▁rennt . </s>", "▁A ▁brown ▁dog ▁runs </s>")
HOSTILE = (
    "▁</script><img src=x onerror=document.body.dataset.harmed=1>",
    "<!--",
    "▁\"'><b onmouseover=alert(1)>",
    "&amp;&lt;",
    "\u2028\u2029",
    "▁\u202eevil\u202c",
    "▁\x00\ud800",
    "▁👩\u200d🚀",
    "▁שלום",
    "▁سلام",
    "</s>",
)
WORDS = (
    "the",
    "head",
    "of",
    "attention",
    "is",
    "where",
    "its",
    "query",
    "looks",
    "and",
    "what",
    "it",
    "finds",
    ",",
    ".",
)


def weights(*shape: int, seed: int = 0) -> torch.Tensor:
    """Rows of weights that sum to one, some sharp and some wide."""
    generator = torch.Generator().manual_seed(seed)
    sharpness = 1 + 3 * torch.rand(*shape[:-1], 1, generator=generator)
    return (sharpness * torch.randn(*shape, generator=generator)).softmax(-1)


def side(name: str, pieces: str | tuple[str, ...], **options: Any) -> Any:
    """A side of pieces as a tokenizer names them; a string is split at spaces."""
    from regard.explain.look import Side
    from regard.explain.pieces import read

    return Side(name=name, pieces=read(pieces.split(" ") if isinstance(pieces, str) else pieces), **options)


def look(
    source: str | tuple[str, ...] = DOG[0],
    output: str | tuple[str, ...] = DOG[1],
    *,
    layers: int = 2,
    heads: int = 3,
    title: str = "A dog",
    score: float | None = -0.417,
    seed: int = 0,
    **names: Any,
) -> Any:
    """A translation: every layer of the output attends to the source."""
    from regard.explain.look import Look, of_weights

    sides = (side("source", source), side("output", output))
    queries, keys = len(sides[1].pieces), len(sides[0].pieces)
    return Look(
        title=title,
        sides=sides,
        layers=tuple(
            of_weights(
                names.get("layer", "decoder.layers.{}.cross").format(number),
                weights(heads, queries, keys, seed=seed + number),
                queries="output",
                keys="source",
            )
            for number in range(layers)
        ),
        score=score,
    )


def translation(layers: int = 3, heads: int = 4, source: str = DOG[0], output: str = DOG[1]) -> Any:
    """Source to source, output to output (causal) and output to source."""
    from regard.explain.look import Look, of_weights

    sides = (side("source", source), side("output", output))
    sizes = {one.name: len(one.pieces) for one in sides}
    made = []
    for kind, queries, keys in (
        ("encoder.layers.{}.self_attention", "source", "source"),
        ("decoder.layers.{}.self_attention", "output", "output"),
        ("decoder.layers.{}.cross_attention", "output", "source"),
    ):
        for number in range(layers):
            one = weights(heads, sizes[queries], sizes[keys], seed=len(made))
            if "decoder" in kind and queries == keys:
                one = one.tril() / one.tril().sum(-1, keepdim=True)
            made.append(of_weights(kind.format(number), one, queries=queries, keys=keys))
    return Look(title="Ein Hund", sides=sides, layers=tuple(made), score=-0.417)


def watched(length: int, *, layers: int = 2, heads: int = 3, title: str = "A text", seed: int = 0) -> Any:
    """What `records` would record of a causal model: at more than 256 pieces the maps are pooled."""
    from regard.explain.look import Layer, Look, Strongest, records

    topk, _, _, pooled = records(length)
    made = []
    for number in range(layers):
        one = (3 * torch.randn(heads, length, length, generator=torch.Generator().manual_seed(seed + number))).exp()
        near = (-(torch.arange(length)[:, None] - torch.arange(length)).abs() / 12).exp()
        one = (one * (near + 0.002)).tril()
        one /= one.sum(-1, keepdim=True)
        strongest = one.topk(min(topk.k, length))
        keys = strongest.indices.masked_fill(strongest.values == 0, -1)
        index = torch.arange(length) * pooled.rows // length
        share = torch.bincount(index, minlength=pooled.rows)
        rows = one.new_zeros(heads, pooled.rows, length).index_add_(1, index, one) / share[:, None]
        made.append(
            Layer(
                name=f"model.layers.{number}.attention",
                queries="text",
                keys="text",
                topk=Strongest(keys, strongest.values),
                entropy=torch.special.entr(one).sum(-1).clamp_min(0),
                received=one.sum(-2),
                pooled=one.new_zeros(heads, pooled.rows, pooled.columns).index_add_(2, index, rows),
            )
        )
    return Look(title=title, sides=(side("text", words(length)),), layers=tuple(made))


def words(length: int) -> tuple[str, ...]:
    """A text of that many pieces."""
    generator = torch.Generator().manual_seed(length)
    chosen = torch.randint(len(WORDS), (length,), generator=generator).tolist()
    return tuple(f"▁{WORDS[word]}" for word in chosen)


def long(length: int = 32_768, *, layers: int = 4, heads: int = 8, k: int = 8, cells: int = 256, seed: int = 0) -> Any:
    """A look at a long text, made without its weights: every head has its own share of near, first and far keys."""
    from regard.explain.look import Layer, Look, Strongest

    generator = torch.Generator().manual_seed(seed)
    query = torch.arange(length)
    made = []
    for number in range(layers):
        kind = torch.rand(heads, 1, 1, generator=generator)
        near = (query[:, None] - torch.rand(heads, length, k, generator=generator).pow(3) * 200 * kind).long()
        far = (torch.rand(heads, length, k, generator=generator) * query[:, None]).long()
        keys = torch.where(torch.rand(heads, length, k, generator=generator) < 0.6 + 0.3 * kind, near, far).clamp_min(0)
        keys[..., 0] = 0  # a sink
        sharpness = 0.3 + 2 * kind + torch.rand(heads, length, 1, generator=generator)
        values = (sharpness * torch.randn(heads, length, k + 1, generator=generator)).softmax(-1)
        rest, values = values[..., -1], values[..., :-1]
        keys = keys.sort(dim=-1).values
        repeated = torch.cat([torch.zeros(heads, length, 1, dtype=torch.bool), keys.diff(dim=-1) == 0], dim=-1)
        keys, values = keys.masked_fill(repeated, -1), values.masked_fill(repeated, 0.0)
        values, order = values.sort(dim=-1, descending=True, stable=True)
        keys = keys.gather(-1, order)
        flat = keys.clamp_min(0)
        received = torch.zeros(heads, length).scatter_add_(1, flat.flatten(1), values.flatten(1))
        received += (rest / (query + 1)).flip(-1).cumsum(-1).flip(-1)
        cell = (query * cells // length)[:, None] * cells + flat * cells // length
        pooled = torch.zeros(heads, cells * cells).scatter_add_(1, cell.flatten(1), values.flatten(1))
        pooled = pooled.view(heads, cells, cells) / (length / cells)
        pooled += 0.05 * torch.ones(cells, cells).tril() / torch.arange(1, cells + 1)[:, None]
        made.append(
            Layer(
                name=f"model.layers.{number}.attention",
                queries="text",
                keys="text",
                topk=Strongest(keys, values),
                entropy=torch.special.entr(values).sum(-1) + rest * (query + 1.0).log(),
                received=received,
                pooled=pooled,
            )
        )
    return Look(title="A long text", sides=(side("text", words(length)),), layers=tuple(made))


def png(width: int, height: int) -> bytes:
    """A picture of a sun over hills, or of a tone that rises."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    sun = ((x - 0.7) ** 2 + (y - 0.3) ** 2 < 0.02).float()
    hills = (y > 0.65 + 0.1 * torch.sin(7 * x)).float()
    sky = torch.stack([0.5 + 0.4 * y, 0.7 + 0.2 * y, 0.95 - 0.2 * y])
    ground = torch.stack([0.2 + 0.3 * x, 0.5 - 0.2 * y, 0.2 + 0 * x])
    colours = torch.where(hills > 0, ground, torch.where(sun > 0, torch.tensor([1.0, 0.85, 0.2])[:, None, None], sky))
    rows = (colours.permute(1, 2, 0) * 255).round().to(torch.uint8).flatten(1).tolist()

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def picture(rows: int = 7, columns: int = 7, *, heads: int = 3, caption: bool = False) -> Any:
    """A vision transformer's patches behind a class token; with a caption that attends to them."""
    from regard.explain.look import Grid, Look, of_weights

    patches = ("CLS", *(f"{row},{column}" for row in range(rows) for column in range(columns)))
    grid = Grid(png=png(32 * columns, 32 * rows), rows=rows, columns=columns, first=1)
    image = side("image", tuple(f"▁{patch}" for patch in patches), grid=grid)
    made = [
        of_weights(
            f"vit.{number}", weights(heads, len(patches), len(patches), seed=number), queries="image", keys="image"
        )
        for number in range(2)
    ]
    if not caption:
        return Look(title="A picture", sides=(image,), layers=tuple(made))
    text = side("caption", "▁a ▁sun ▁over ▁hill s </s>")
    made += [
        of_weights(
            "text.0.cross", weights(heads, len(text.pieces), len(patches), seed=9), queries="caption", keys="image"
        )
    ]
    return Look(title="A picture and its caption", sides=(image, text), layers=tuple(made))


def sound(frames: int = 60, *, heads: int = 2, played: bool = False) -> Any:
    """A transcript that attends to the frames of a sound, which may be there to be played."""
    from regard.data.sounds import to_flac
    from regard.explain.look import Grid, Look, of_weights

    flac = to_flac(0.1 * torch.randn(frames * 160), 8000) if played else b""  # 50 frames a second
    grid = Grid(png=png(4 * frames, 80), rows=1, columns=frames, sound=flac, seconds=frames / 50)
    audio = side("audio", tuple(f"▁{frame / 50:.2f}s" for frame in range(frames)), grid=grid)
    text = side("transcript", "▁the ▁tone ▁ris es </s>")
    queries = len(text.pieces)
    centre = torch.linspace(5, frames - 5, queries)[:, None]
    one = (-((torch.arange(frames) - centre) ** 2) / 40 + torch.randn(heads, queries, frames)).softmax(-1)
    return Look(
        title="A sound",
        sides=(audio, text),
        layers=(of_weights("decoder.0.cross", one, queries="transcript", keys="audio"),),
    )
