import base64
import hashlib
import json
import re
import subprocess
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.explain import Alignment, page, section
from regard.explain.page import SCALE, embed

LAYERS, HEADS, OUTPUT, SOURCE = 2, 3, 5, 7
VOID = {"meta", "br", "hr", "img", "input", "link"}
HOSTILE = (
    "▁</script><img src=x onerror=document.body.dataset.harmed=1>",
    "<!--",
    "▁\"'><b onmouseover=alert(1)>",
    "&amp;&lt;",
    "\u2028\u2029",
    "▁\u202e\x00\ud800",
    "</s>",
)


class Tree(HTMLParser):
    """What a page consists of; fails where an element is closed that is not open, or left open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []  # tag, name, value
        self.texts: list[tuple[dict[str, str], str]] = []  # of an element without children: its attributes, its text
        self.current: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.current = {"tag": tag} | {name: value or "" for name, value in attrs}
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self.current, data))

    def text(self, **attributes: str) -> list[str]:
        return [text for element, text in self.texts if attributes.items() <= element.items() and text.strip()]

    def values(self, name: str) -> list[str]:
        return [value for _, attribute, value in self.attributes if attribute == name]


def data_of(html: str) -> Any:
    return json.loads(raw_data(html))


def raw_data(html: str) -> str:
    (text,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)
    return str(text)


def hostile(pieces: tuple[str, ...] = HOSTILE) -> Alignment:
    weights = torch.randn(LAYERS, HEADS, len(pieces), len(pieces)).softmax(-1)
    return Alignment(source=pieces, output=pieces, weights=weights, title="<i>&", layer_names=("<u>", "&"))


def test_the_page_is_well_formed_and_shows_all_tokens(dog: Alignment) -> None:
    tree = Tree(page([dog], title="A dog"))
    assert tree.text(tag="title") == ["A dog"]
    shown = ["Ein", "brau", "ner", "Hund", "rennt", ".", "END", "A", "brown", "dog", "runs", "END"]
    pieces = [text for element, text in tree.texts if element.get("class") in ("piece", "piece end")]
    assert [text for text in pieces if text.strip()] == shown
    assert tree.tags["tr"] == 1 + OUTPUT
    assert tree.text(**{"class": "facts"}) == ["score −0.417 · 7 source tokens · 5 output tokens · 2 layers of 3 heads"]


def test_the_page_stands_alone(dog: Alignment) -> None:
    """Nothing is fetched, and no attribute carries a script or a style."""
    html = page([dog, dog], title="A dog")
    tree = Tree(html)
    assert re.findall(r"https?:|//\w|@import|url\(|<link|<iframe|<img|<object|\beval\(|innerHTML", html) == []
    assert tree.values("src") == []
    assert tree.values("href") == ["#sentence-1", "#sentence-2"]
    assert [name for _, name, _ in tree.attributes if name.startswith("on") or name == "style"] == []


def test_the_policy_allows_the_style_and_the_script_by_their_hashes(dog: Alignment) -> None:
    html = page([dog], title="A dog")
    policy = Tree(html).values("content")[0]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed.keys() == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    assert allowed["default-src"] == "'none'"
    for directive, pattern in (
        ("style-src", r"<style>(.*?)</style>"),
        ("script-src", r"<script>(.*?)</script>"),
    ):
        (content,) = re.findall(pattern, html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"


def test_hostile_tokens_are_text() -> None:
    harmless = page([hostile(("▁a", "b", "▁c", "d", "e", "▁f", "</s>"))], title="t")
    html = page([hostile()], title="</title><script>alert(1)</script>")
    html.encode("utf-8")
    tree = Tree(html)
    assert tree.tags == Tree(harmless).tags
    assert "</script><img src=x onerror=document.body.dataset.harmed=1>" in tree.text(**{"class": "piece"})
    assert "</script><img src=x onerror=document.body.dataset.harmed=1>" in tree.values("title")
    assert not re.search(r"[<>&\u2028\u2029]", raw_data(html))
    assert data_of(html)["alignments"][0]["source"][0] == HOSTILE[0][1:]


@given(st.lists(st.text(st.characters(exclude_categories=[])), min_size=1, max_size=3))
def test_any_tokens_make_a_page(pieces: list[str]) -> None:
    weights = torch.full((1, 1, len(pieces), len(pieces)), 1 / len(pieces))
    html = page([Alignment(source=tuple(pieces), output=tuple(pieces), weights=weights)], title=pieces[0])
    html.encode("utf-8")
    tree = Tree(html)
    assert tree.tags["section"] == 1
    assert tree.tags["script"] == 2
    assert len(data_of(html)["alignments"][0]["source"]) == len(pieces)


@settings(max_examples=20)
@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_json_reads_back(data: Any) -> None:
    text = embed(data)
    assert json.loads(text) == data
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_the_data_is_the_alignment(dog: Alignment) -> None:
    data = data_of(page([dog], title="A dog"))
    (alignment,) = data["alignments"]
    assert alignment["source"] == ["Ein", "brau", "·ner", "Hund", "rennt", ".", "END"]
    assert alignment["output"] == ["A", "brown", "dog", "runs", "END"]
    assert alignment["layers"] == ["layer 0", "layer 1"]
    assert data["scale"] == SCALE
    weights = torch.tensor(alignment["weights"]) / SCALE
    torch.testing.assert_close(weights, dog.weights, atol=0.5 / SCALE + 1e-7, rtol=0)
    nats = alignment["entropy"]
    torch.testing.assert_close(torch.tensor(nats["heads"]), dog.entropy(), atol=6e-4, rtol=0)
    torch.testing.assert_close(torch.tensor(nats["mean"]), dog.mean_entropy(), atol=6e-4, rtol=0)
    assert len(nats["layers"]) == LAYERS


def test_without_a_script_the_mean_map_and_the_strongest_tokens_are_there(dog: Alignment) -> None:
    tree = Tree(page([dog], title="A dog"))
    cells = [value for tag, name, value in tree.attributes if (tag, name) == ("rect", "fill-opacity")]
    weights = dog.mean().flatten()
    drawn = weights[weights >= section.FAINTEST]
    torch.testing.assert_close(
        torch.tensor([float(value) for value in cells[: len(drawn)]]) ** 2, drawn, atol=0.02, rtol=0.02
    )
    assert len(cells) == len(drawn) + len(section.LEGEND)
    numbers = tree.text(**{"class": "number"})
    assert numbers == [f"{each.weight:.3f}" for tops in dog.top(section.STRONGEST) for each in tops]
    assert tree.text(**{"class": "spread"}) == [f"{nats:.2f} nats" for nats in dog.mean_entropy().tolist()]


def test_script_and_server_draw_alike() -> None:
    script = files("regard.explain").joinpath("page.js").read_text(encoding="utf-8")
    for name in ("STRONGEST", "FAINTEST"):
        (value,) = re.findall(rf"const {name} = ([\d.]+);", script)
        assert float(value) == getattr(section, name)


def test_several_sentences_have_a_list(dog: Alignment, align: Callable[..., Any]) -> None:
    assert "<nav" not in page([dog], title="One")
    tree = Tree(page([dog, align("▁Zwei </s>", "▁Two </s>", title="Numbers")], title="Two"))
    assert tree.text(tag="bdi")[:4] == ["Ein brauner Hund rennt.", "A brown dog runs", "Zwei", "Two"]
    assert tree.text(tag="h2") == ["Sentence 1", "Numbers"]


def test_one_token_alone(align: Callable[..., Any]) -> None:
    """The entropy's upper end, ln 1, is zero: nothing is divided by it."""
    Tree(page([align("</s>", "</s>")], title="Nothing"))


def test_a_page_of_nothing() -> None:
    with pytest.raises(ValueError, match="one alignment or more"):
        page([], title="Nothing")


def test_the_page_stays_small(align: Callable[..., Any], record_property: Callable[[str, object], None]) -> None:
    words = " ".join(["▁Wort"] * 30)
    size = len(page([align(words, words, layers=4, heads=4)], title="Long").encode())
    record_property("note", f"attention page of 4 layers x 4 heads x 30 x 30: {size / 1000:.0f} kB")
    assert size < 200_000


# ---- colours


def palettes() -> dict[str, dict[str, str]]:
    style = files("regard.explain").joinpath("page.css").read_text(encoding="utf-8")
    light, dark = (dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in style.split("@media", 1))
    return {"light": light, "dark": dark}


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read_on_every_ground(scheme: str) -> None:
    """WCAG 2.2's 4.5:1, for text on a word lit up by any weight too."""
    colours = {
        name: tuple(int(value[start : start + 2], 16) / 255 for start in (1, 3, 5))
        for name, value in palettes()[scheme].items()
    }
    for ground in ("page", "surface"):
        assert contrast(colours["muted"], colours[ground]) >= 4.5
        assert contrast(colours["link"], colours[ground]) >= 3  # the focus ring
    for ground in ("page", "surface", "pick-soft"):
        for tenths in range(11):
            lit = tuple(a + (b - a) * tenths / 10 for a, b in zip(colours[ground], colours["glow"], strict=True))
            assert contrast(colours["ink"], lit) >= 4.5


# ---- in a browser


def dump(chromium: str, address: str, profile: Path) -> str:
    """The page's elements after its script has run."""
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    command = [chromium, *options.split(), "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={profile}", "--timeout=20000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, timeout=90, check=True).stdout.decode("utf-8")


@pytest.mark.requires("browser")
def test_the_script_runs(dog: Alignment, chromium: str, tmp_path: Path) -> None:
    path = tmp_path / "attention.html"
    path.write_text(page([dog, hostile()], title="Two"), encoding="utf-8")
    html = dump(chromium, f"{path.as_uri()}#sentence-2", tmp_path / "profile")
    assert re.search(r'<html[^>]* data-ready="true"', html)
    first, second = re.findall(r"<section [^>]*>", html)
    assert " hidden" in first
    assert " hidden" not in second
    assert "live" in second
    # A button for every head, for every layer's mean, and for the mean of all; the last is chosen.
    assert len(re.findall(r"<button [^>]*data-layer=", html)) == LAYERS * (HEADS + 1) + 1
    assert len(re.findall(r'<button [^>]*aria-pressed="true"', html)) == 1
    assert re.search(r'aria-pressed="true" [^>]*tabindex="0"|tabindex="0"[^>]* aria-pressed="true"', html)
    (readout,) = re.findall(r'<p class="readout" role="status">(.*?)</p>', html, re.DOTALL)
    assert "attended to" in readout
    assert "nats" in readout
    assert "data-harmed" not in html
    assert "<img" not in html
