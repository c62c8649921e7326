"""The HTML of one look, to be read without JavaScript; the page's script puts something livelier in its place."""

import base64
from collections.abc import Iterator, Sequence
from html import escape

import torch

from regard.explain.block import FINE, Plan
from regard.explain.look import Layer, Look, Side
from regard.explain.packing import Scale
from regard.explain.pieces import Piece, sentence, visible
from regard.explain.pooling import cells

LONGEST = 2_000  # pieces of a side's text
QUERIES = 200  # whose strongest keys are listed ...
STRONGEST = 3  # ... this many of each


def navigation(looks: Sequence[Look]) -> str:
    """The list to choose a look from; nothing where there is only one."""
    if len(looks) == 1:
        return ""
    items = "\n".join(
        f'<li><a href="#sentence-{number}" translate="no"><b>{title(look, number)}</b> '
        f"{' <span>·</span> '.join(f'<bdi>{text}</bdi>' for text in _openings(look))}</a></li>"
        for number, look in enumerate(looks, start=1)
    )
    return f'<nav aria-label="Sentences"><ol>\n{items}\n</ol></nav>'


def _openings(look: Look) -> Iterator[str]:
    """How the text of each side begins, special pieces left out; once where sides begin alike."""
    texts = (_text([piece for piece in side.pieces[:40] if not piece.special]) for side in look.sides)
    return (text for text in dict.fromkeys(texts) if text)


def title(look: Look, number: int) -> str:
    """The name of a look, as HTML."""
    return escape(visible(look.title)) if look.title else f"Sentence {number}"


def section(look: Look, number: int, plan: Plan, still: str, *, heading: bool = True) -> str:
    """One look: its facts, what of its numbers is exact, and what there is to read without JavaScript.

    Args:
        look: what to show.
        number: of the look on the page, from 1.
        plan: how finely the page keeps it.
        still: what `still` gives for it.
        heading: whether to show the look's name; it need not stand twice where it is the page's.
    """
    name = f"sentence-{number}"
    return f"""\
<section class="look" id="{name}" data-number="{number - 1}" aria-labelledby="{name}-title">
<h2 id="{name}-title"{"" if heading else " hidden"}>{title(look, number)}</h2>
<p class="facts">{escape(" · ".join(facts(look)))}</p>
<p class="exact">{escape(" ".join(exactness(look, plan)))}</p>
<div class="still">
{still}
</div>
</section>"""


def still(look: Look) -> str:
    """The texts, every head's mean entropy, and the strongest keys of the first queries."""
    groups: dict[tuple[str, str], list[Layer]] = {}
    for layer in look.layers:
        groups.setdefault((layer.queries, layer.keys), []).append(layer)
    across = [layers for (queries, keys), layers in groups.items() if queries != keys]
    parts = [*map(_side, look.sides), *map(_entropies, groups.values())]
    # Of the group that the page opens with: the last in which one side attends to another, else the first.
    return "".join(parts) + _strongest(look, across[-1] if across else next(iter(groups.values())))


def facts(look: Look) -> Iterator[str]:
    """What there is to see: the score, the sides' lengths, layers and heads."""
    if look.score is not None:
        yield f"score {look.score:.3f}".replace("-", "−")
    for side in look.sides:
        yield f"{visible(side.name)}: {_count(len(side.pieces), 'piece')}"
    heads = {layer.heads for layer in look.layers}
    layers = _count(len(look.layers), "layer")
    if len(heads) == 1:
        yield f"{layers} of {_count(heads.pop(), 'head')}"
    else:
        yield f"{layers}, {sum(layer.heads for layer in look.layers)} heads in all"


def exactness(look: Look, plan: Plan) -> Iterator[str]:
    """What of the page's numbers is exact, and what is a bound."""
    shapes = {(layer.entropy.shape[-1], layer.received.shape[-1], *layer.pooled.shape[1:]) for layer in look.layers}
    sizes = [
        (queries, keys, cells(rows, queries, plan.cells), cells(columns, keys, plan.cells))
        for queries, keys, rows, columns in shapes
    ]
    pooled = [(-(-queries // rows), -(-keys // columns)) for queries, keys, rows, columns in sizes]
    error = Scale(1.0, plan.bits).error()
    close = "right to three decimals" if plan.bits == FINE else f"within {error:.1g}"
    if all(cell == (1, 1) for cell in pooled):
        yield f"Every single weight is here, {close}."
    else:
        queries, keys = max(pooled)
        yield (
            f"Maps are pooled: a cell says how much of their weight {_up_to(queries, 'query', 'queries')} gave to "
            f"{_up_to(keys, 'key', 'keys')} together, on average."
        )
        k = max(layer.topk.keys.shape[-1] for layer in look.layers)
        least = f" single weights of at least {plan.least:g} are kept, below that the pooled map;" if plan.least else ""
        yield (
            f"Zoomed in, the {k} strongest single weights of each query are drawn, {close}:{least} any other weight is "
            f"below the bound that is shown. A mean of heads or layers knows a single weight as far as they do: "
            f"“at least”."
        )
    longest = max(len(side.pieces) for side in look.sides)
    if longest > plan.bins:
        yield (
            f"Entropies and weights received along a text are means over up to {-(-longest // plan.bins)} neighbours; "
            f"their means and the ranking are of all pieces."
        )


def _side(side: Side) -> str:
    grid = side.grid
    picture = ""
    if grid:
        source = base64.b64encode(grid.png).decode("ascii")
        name = escape(visible(side.name))
        picture = f'<img src="data:image/png;base64,{source}" alt="{name}" data-side="{name}">'
        if grid.sound:
            source = base64.b64encode(grid.sound).decode("ascii")
            picture += f'<audio controls src="data:audio/flac;base64,{source}" data-side="{name}"></audio>'
    more = len(side.pieces) - LONGEST
    rest = f"<p>… and {more:,} pieces more.</p>" if more > 0 else ""
    return (
        f"<h3>{escape(visible(side.name))}</h3>{picture}"
        f'<p class="text" dir="auto" lang="" translate="no">{_text(side.pieces[:LONGEST])}</p>{rest}\n'
    )


def _entropies(layers: Sequence[Layer]) -> str:
    heads = max(layer.heads for layer in layers)
    columns = "".join(f'<th scope="col">head {head}</th>' for head in range(heads))
    rows = "\n".join(
        f'<tr><th scope="row">{escape(visible(layer.name))}</th>'
        f"{''.join(f'<td>{nats:.2f}</td>' for nats in layer.entropy.mean(-1).tolist())}</tr>"
        for layer in layers
    )
    return (
        f'<div class="scroll"><table><caption>{_arrow(layers[0])}: mean entropy of each head, in nats</caption>'
        f"<thead><tr><td></td>{columns}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>\n"
    )


def _strongest(look: Look, layers: Sequence[Layer]) -> str:
    """Of the mean of layers and heads where all their weights are here, else of the sharpest head: exact both times."""
    first = layers[0]
    if all(layer.complete for layer in layers):
        whole = torch.stack([layer.map() for layer in layers])
        weights, keys = whole.mean(0).sort(dim=-1, descending=True, stable=True)
        which = f"{_arrow(first)}, mean of {_count(len(layers), 'layer')} and their heads"
    else:
        spread = [
            (float(nats), at, head)
            for at, layer in enumerate(layers)
            for head, nats in enumerate(layer.entropy.mean(-1))
        ]
        _, at, head = min(spread)
        keys, weights = layers[at].topk.keys[head], layers[at].topk.weights[head]
        which = f"{escape(visible(layers[at].name))}, head {head}, of all heads the one with the least entropy"
    queries, others = look.side(first.queries).pieces, look.side(first.keys).pieces
    items = "\n".join(
        f'<li><bdi class="token">{_label(queries[query])}</bdi> '
        + " ".join(
            f'<span class="chip"><bdi>{_label(others[key])}</bdi> <span class="number">{weight:.3f}</span></span>'
            for key, weight in zip(some_keys, some_weights, strict=True)
            if key >= 0 and weight > 0
        )
        + "</li>"
        for query, (some_keys, some_weights) in enumerate(
            zip(keys[:QUERIES, :STRONGEST].tolist(), weights[:QUERIES, :STRONGEST].tolist(), strict=True)
        )
    )
    more = f"<p>… and {len(queries) - QUERIES:,} more.</p>" if len(queries) > QUERIES else ""
    return f'<h3>What each piece attended to: {which}</h3>\n<ol translate="no">\n{items}\n</ol>{more}'


def _arrow(layer: Layer) -> str:
    return f"{escape(visible(layer.queries))} → {escape(visible(layer.keys))}"


def _text(pieces: Sequence[Piece]) -> str:
    return escape(visible(sentence(pieces)))


def _label(piece: Piece) -> str:
    return escape(visible(piece.label))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _up_to(number: int, noun: str, nouns: str) -> str:
    return f"one {noun}" if number == 1 else f"up to {number} {nouns}"
