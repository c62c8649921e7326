"""The HTML page of alignments: one file that needs no network and runs nothing but its own script."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from regard.explain.alignment import Alignment, entropy
from regard.explain.pieces import visible
from regard.explain.section import navigation, section

SCALE = 10_000  # weights are written as whole ten-thousandths


def page(alignments: Sequence[Alignment], *, title: str) -> str:
    """One self-contained HTML page of the alignments, to be written as UTF-8.

    Without JavaScript it shows every sentence's mean map, entropies and strongest source tokens; with it,
    every layer and head, and what each word attended to. A content security policy allows the page's own
    style and script, by their hashes, and nothing else.

    Args:
        alignments: one for each sentence, in the order of the page's list.
        title: the page's title and heading.

    Raises:
        ValueError: no alignment was given.
    """
    if not alignments:
        raise ValueError("a page needs one alignment or more, but the list is empty")
    style, script = _resource("page.css"), _resource("page.js")
    policy = f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}"
    policy += "; base-uri 'none'; form-action 'none'"
    return Template(_resource("page.html")).substitute(
        title=escape(visible(title)),
        policy=policy,
        style=style,
        script=script,
        navigation=navigation(alignments),
        sections="\n".join(section(alignment, number) for number, alignment in enumerate(alignments, start=1)),
        data=embed({"scale": SCALE, "alignments": [_data(alignment) for alignment in alignments]}),
    )


def embed(data: Any) -> str:
    """JSON that is safe inside a script element: nothing in it can end the element or a line of script."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate({ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"})


def _data(alignment: Alignment) -> dict[str, Any]:
    return {
        "source": [piece.label for piece in alignment.source_pieces],
        "output": [piece.label for piece in alignment.output_pieces],
        "layers": list(alignment.layer_names),
        "weights": (alignment.weights * SCALE).round().int().tolist(),
        # Taken here, since rounded weights would lose the many small ones that entropy is made of.
        "entropy": {
            "mean": _rounded(alignment.mean_entropy().tolist()),
            "layers": _rounded(entropy(alignment.weights.mean(dim=1)).tolist()),
            "heads": _rounded(alignment.entropy().tolist()),
        },
    }


def _rounded(numbers: Any) -> Any:
    return [_rounded(each) for each in numbers] if isinstance(numbers, list) else round(numbers, 3)


def _resource(name: str) -> str:
    return files("regard.explain").joinpath(name).read_text(encoding="utf-8")


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
