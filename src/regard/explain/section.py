"""The HTML of one alignment, complete without JavaScript: the page's script then brings it to life."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from regard.explain.alignment import Alignment, Attended
from regard.explain.pieces import Piece, sentence, visible

STRONGEST = 3  # source tokens listed for each output token; page.js has the same number
FAINTEST = 0.002  # cells below are not drawn; page.js has the same number
LEGEND = (0.01, 0.1, 0.25, 0.5, 1.0)


def navigation(alignments: Sequence[Alignment]) -> str:
    """The list to choose a sentence from; nothing where there is only one."""
    if len(alignments) == 1:
        return ""
    items = "\n".join(
        f'<li><a href="#sentence-{number}" translate="no">'
        f"<bdi>{_sentence(alignment.source_pieces)}</bdi> "
        f'<span class="arrow">→</span> '
        f"<bdi>{_sentence(alignment.output_pieces)}</bdi></a></li>"
        for number, alignment in enumerate(alignments, start=1)
    )
    return f'<nav aria-label="Sentences"><ol>\n{items}\n</ol></nav>'


def section(alignment: Alignment, number: int) -> str:
    """One alignment: its two sentences, the mean map with entropies, and the strongest source tokens."""
    source, output = alignment.source_pieces, alignment.output_pieces
    title = escape(visible(alignment.title)) if alignment.title else f"Sentence {number}"
    name = f"sentence-{number}"
    facts = [f"{len(source)} source tokens", f"{len(output)} output tokens"]
    facts.append(f"{_count(alignment.layers, 'layer')} of {_count(alignment.heads, 'head')}")
    if alignment.score is not None:
        facts.insert(0, f"score {alignment.score:.3f}".replace("-", "−"))
    opening = f'class="alignment {_size(len(source))}" id="{name}" data-number="{number}"'
    return f"""\
<section {opening} aria-labelledby="{name}-title">
<div class="heading"><h2 id="{name}-title">{title}</h2><p class="facts">{" · ".join(facts)}</p></div>
<div class="lines">
{_line("Source", "source", source)}
{_line("Output", "output", output)}
</div>
{_controls(alignment)}
<div class="panels">
<figure class="panel">
<figcaption><b class="which">Mean of all layers and heads</b></figcaption>
<div class="scroll" tabindex="0" role="region" aria-label="Map: output tokens down, source tokens across">
{_map(alignment, source, output)}
</div>
{_legend()}
</figure>
<div class="panel heads" hidden></div>
</div>
<div class="panel strongest">
<h3>Where each output token looked</h3>
{_strongest(alignment, output)}
</div>
<p class="readout" role="status" hidden></p>
</section>"""


def _sentence(pieces: Sequence[Piece]) -> str:
    return escape(sentence(pieces[:-1] if pieces[-1].ends else pieces))


def _line(label: str, side: str, pieces: Sequence[Piece]) -> str:
    words: list[str] = []
    for index, piece in enumerate(pieces):
        kind = "piece end" if piece.ends else "piece"
        span = f'<span class="{kind}" data-index="{index}">{escape(piece.text)}</span>'
        if piece.starts:
            words.append(span)
        else:
            words[-1] += span
    text = " ".join(f'<span class="word">{word}</span>' for word in words)
    return (
        f'<div class="line"><span class="side">{label}</span>'
        f'<span class="text" data-side="{side}" dir="auto" lang="" translate="no">{text}</span></div>'
    )


def _controls(alignment: Alignment) -> str:
    layers = "".join(
        f'<option value="{index}">{escape(name)}</option>' for index, name in enumerate(alignment.layer_names)
    )
    heads = "".join(f'<option value="{index}">head {index}</option>' for index in range(alignment.heads))
    mean = '<option value="-1">all: their mean</option>'
    return f"""\
<div class="controls" hidden>
<label>Layer <select class="layer">{mean}{layers}</select></label>
<label>Head <select class="head">{mean}{heads}</select></label>
<span class="keys">Point at a token, tap it, or walk with the arrow keys; Esc lets go.</span>
</div>"""


def _map(alignment: Alignment, source: Sequence[Piece], output: Sequence[Piece]) -> str:
    columns = "".join(
        f'<th scope="col" data-index="{index}" title="{escape(piece.label)}">'
        f'<span dir="auto">{escape(piece.label)}</span></th>'
        for index, piece in enumerate(source)
    )
    limit = math.log(len(source))
    rows = "\n".join(
        f'<tr data-index="{index}">'
        f'<th scope="row" title="{escape(piece.label)}"><bdi>{escape(piece.label)}</bdi></th>'
        f'<td class="nats"><svg class="bar" viewBox="0 0 1 1" preserveAspectRatio="none" aria-hidden="true">'
        f'<rect width="{nats / limit if limit else 0:.3f}" height="1"/></svg><span>{nats:.2f}</span></td>'
        f'<td class="strip" colspan="{len(source)}">'
        f'<svg viewBox="0 0 {len(source)} 1" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(_cells(row))}</svg></td></tr>"
        for index, (piece, row, nats) in enumerate(
            zip(output, alignment.mean().tolist(), alignment.mean_entropy().tolist(), strict=True)
        )
    )
    return (
        f'<table class="map" translate="no"><thead><tr><td class="corner"></td>'
        f'<th scope="col" class="nats">nats</th>{columns}</tr></thead>\n<tbody>\n{rows}\n</tbody></table>'
    )


def _cells(row: Sequence[float]) -> Iterator[str]:
    for index, weight in enumerate(row):
        if weight >= FAINTEST:
            yield f'<rect x="{index}" fill-opacity="{_depth(weight):.2g}"/>'


def _depth(weight: float) -> float:
    """How deep a cell's colour is: the square root keeps small weights apart; the legend shows it."""
    return math.sqrt(weight)


def _legend() -> str:
    steps = "".join(
        f'<span><svg viewBox="0 0 1 1" aria-hidden="true"><rect width="1" height="1" '
        f'fill-opacity="{_depth(weight):.2g}"/></svg>{weight:g}</span>'
        for weight in LEGEND
    )
    return f'<p class="legend">weight {steps}</p>'


def _strongest(alignment: Alignment, output: Sequence[Piece]) -> str:
    items = "\n".join(
        f'<li data-index="{index}"><bdi class="token">{escape(piece.label)}</bdi>'
        f'<span class="spread">{nats:.2f} nats</span><span class="tops">{_tops(tops)}</span></li>'
        for index, (piece, nats, tops) in enumerate(
            zip(output, alignment.mean_entropy().tolist(), alignment.top(STRONGEST), strict=True)
        )
    )
    return f'<ol translate="no">\n{items}\n</ol>'


def _tops(tops: Sequence[Attended]) -> str:
    return " ".join(
        f'<span class="chip"><bdi>{escape(each.piece)}</bdi> <span class="number">{each.weight:.3f}</span></span>'
        for each in tops
    )


def _size(source: int) -> str:
    return "large" if source <= 14 else "medium" if source <= 32 else "small"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
