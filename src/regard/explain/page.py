"""The HTML page of looks: one file that needs no network and runs nothing but its own script."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from regard.explain.archive import Archive
from regard.explain.look import Look
from regard.explain.pieces import visible
from regard.explain.section import navigation, section, still

SIZE = 4_800_000  # bytes of a page at most, its pictures and sounds aside, of which ...
LOOK, HEAD = 2_000, 200  # ... this many are for what is said of a look, and of a head
# In the order in which they make the page's one script.
SCRIPTS = (
    "colours.js",
    "data.js",
    "head.js",
    "plot.js",
    "map.js",
    "margins.js",
    "gestures.js",
    "text.js",
    "picture.js",
    "heads.js",
    "charts.js",
    "readout.js",
    "look.js",
    "page.js",
)


def page(looks: Sequence[Look], *, title: str) -> str:
    """One self-contained HTML page of the looks, written as UTF-8; below 5 MB, pictures and sounds aside.

    With JavaScript it shows every head's map, down to single weights, what each piece attended to in the text or the
    picture, what received most, and the entropies; without it, the texts, the entropies and the strongest keys. What
    does not fit is kept coarser, and the page says how. A content security policy allows the page's own style and
    script, by their hashes, and nothing else.

    Args:
        looks: one for each input, in the order of the page's list.
        title: the page's title and heading.

    Raises:
        ValueError: no look was given, more than a page can hold, or numbers that are no weights: negative, infinite or
            NaN.
    """
    if not looks:
        raise ValueError("a page needs one look or more, but the list is empty")
    script, style = script_and_style()
    policy = f"default-src 'none'; style-src {digest(style)}; script-src {digest(script)}"
    if any(side.grid for look in looks for side in look.sides):
        policy += "; img-src data:"
    if any(side.grid and side.grid.sound for look in looks for side in look.sides):
        policy += "; media-src data:"
    policy += "; base-uri 'none'; form-action 'none'"
    stills = [still(look) for look in looks]
    template, links = _resource("page.html"), navigation(looks)
    archive = Archive.of(looks, room=SIZE - _fixed(looks, [template, style, script, links, *stills]))
    return Template(template).substitute(
        title=escape(visible(title)),
        policy=policy,
        style=style,
        script=script,
        navigation=links,
        sections="\n".join(
            section(look, number, archive.plan, text, heading=len(looks) > 1 or look.title != title)
            for number, (look, text) in enumerate(zip(looks, stills, strict=True), start=1)
        ),
        about=embed({"least": archive.plan.least, "looks": archive.about}),
        texts="\n".join(
            f'<script type="application/octet-stream" id="{name}">{text}</script>'
            for name, text in archive.texts.items()
        ),
    )


def script_and_style() -> tuple[str, str]:
    """What stands in every page's script and style elements: a policy around a page has to know their hashes."""
    return "\n".join(['"use strict";', "(() => {", *map(_resource, SCRIPTS), "})();", ""]), _resource("page.css")


def _fixed(looks: Sequence[Look], parts: Sequence[str]) -> int:
    """The bytes of what a page has beside numbers: these parts, less what is seen and heard, and the pieces as data."""
    sides = [side for look in looks for side in look.sides]
    pieces = [visible(piece.text) for side in sides for piece in side.pieces]
    pictures = sum((len(side.grid.png) + len(side.grid.sound)) * 4 // 3 for side in sides if side.grid)
    heads = sum(2 + layer.heads for look in looks for layer in look.layers)  # with their means
    size = sum(len(text.encode()) for text in (*parts, embed(pieces)))
    return size - pictures + LOOK * len(looks) + HEAD * heads


def embed(data: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or a line of script."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def _resource(name: str) -> str:
    return files("regard.explain").joinpath("assets", name).read_text(encoding="utf-8")


def digest(content: str) -> str:
    """What a content security policy calls a script or style by."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
