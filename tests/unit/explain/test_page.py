import base64
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from importlib import import_module
from importlib.resources import files
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.explain.looks import HOSTILE, long, look, picture, side, sound, translation, watched
from tests.unit.explain.unpacking import Archive

from regard.explain import Look, of_weights, page, section
from regard.explain.page import SCRIPTS, SIZE, embed

VOID = {"meta", "br", "hr", "img", "input", "link"}
HARMLESS = ("▁a", "b", "▁c", "d", "e", "▁f", "▁g", "▁h", "▁i", "▁j", "</s>")


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


def hostile(pieces: tuple[str, ...] = HOSTILE) -> Look:
    return look(pieces, pieces, title="<i>&", layer="<u>{}")


# ---- the file


def test_the_page_is_well_formed_and_says_what_it_shows() -> None:
    tree = Tree(page([look()], title="Dogs"))
    assert tree.text(tag="title") == ["Dogs"]
    assert tree.text(tag="h2") == ["A dog"]
    assert tree.text(**{"class": "facts"}) == [
        "score −0.417 · source: 7 pieces · output: 5 pieces · 2 layers of 3 heads"
    ]
    assert tree.text(**{"class": "exact"}) == ["Every single weight is here, right to three decimals."]
    assert tree.text(**{"class": "text"}) == ["Ein brauner Hund rennt. END", "A brown dog runs END"]


def test_the_page_stands_alone() -> None:
    """Nothing is fetched, and no attribute carries a script or a style."""
    html = page([look(), translation()], title="A dog")
    tree = Tree(html)
    markup = re.sub(r'<script type="application/octet-stream".*?</script>', "", html)
    assert (
        re.findall(
            r"https?:(?!//www\.w3\.org/2000/svg\")|[^:]//\w|@import|url\(|<link|<iframe|<img|\beval\(|innerHTML", markup
        )
        == []
    )
    assert tree.values("src") == []
    assert tree.values("href") == ["#sentence-1", "#sentence-2"]
    assert [name for _, name, _ in tree.attributes if name.startswith("on") or name == "style"] == []


@pytest.mark.parametrize("images", [False, True])
def test_the_policy_allows_the_style_and_the_script_by_their_hashes(images: bool) -> None:
    """And pictures that stand in the page, where it has any."""
    html = page([picture() if images else look()], title="A dog")
    policy = Tree(html).values("content")[0]
    allowed = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert allowed.keys() - {"img-src"} == {"default-src", "style-src", "script-src", "base-uri", "form-action"}
    assert allowed["default-src"] == "'none'"
    assert allowed.get("img-src") == ("data:" if images else None)
    for directive, pattern in (("style-src", r"<style>(.*?)</style>"), ("script-src", r"<script>(.*?)</script>")):
        (content,) = re.findall(pattern, html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"


def test_every_script_of_the_package_is_in_the_page() -> None:
    assets = files("regard.explain").joinpath("assets")
    assert sorted(SCRIPTS) == sorted(each.name for each in assets.iterdir() if each.name.endswith(".js"))


def test_hostile_tokens_are_text() -> None:
    html = page([hostile()], title="</title><script>alert(1)</script>")
    html.encode("utf-8")
    tree = Tree(html)
    assert tree.tags == Tree(page([hostile(HARMLESS)], title="t")).tags
    assert any("</script><img src=x onerror=" in text for text in tree.text(tag="p"))
    archive = Archive(html)
    assert not re.search(r"[<>&\u2028\u2029]", archive.raw)
    pieces = archive.about["looks"][0]["sides"][0]["pieces"]
    assert pieces[0] == HOSTILE[0][1:]
    assert not re.search(r"[\u202a-\u202e\x00\ud800-\udfff]", "".join(pieces))


@given(st.lists(st.text(st.characters(exclude_categories=[])), min_size=1, max_size=3))
def test_any_tokens_make_a_page(pieces: list[str]) -> None:
    html = page([look(tuple(pieces), tuple(pieces), layers=1, heads=1, title=pieces[0])], title=pieces[0])
    html.encode("utf-8")
    tree = Tree(html)
    assert tree.tags["section"] == 1
    assert tree.tags["script"] == 4  # the data, the numbers of the one block, the script
    assert len(Archive(html).about["looks"][0]["sides"][0]["pieces"]) == len(pieces)


@settings(max_examples=20)
@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_embedded_json_reads_back(data: Any) -> None:
    text = embed(data)
    assert json.loads(text) == data
    assert not re.search(r"[<>&\u2028\u2029]", text)


def test_a_page_of_nothing() -> None:
    with pytest.raises(ValueError, match="one look or more"):
        page([], title="Nothing")


def test_weights_that_are_none() -> None:
    broken = of_weights("broken", torch.tensor([[[float("nan")]]]), queries="text", keys="text")
    with pytest.raises(ValueError, match="finite and not negative, but there is NaN or infinity"):
        page([Look(title="", sides=(side("text", "▁a"),), layers=(broken,))], title="Broken")


def test_one_token_alone() -> None:
    """The entropy's upper end, ln 1, is zero: nothing is divided by it."""
    Tree(page([look("</s>", "</s>")], title="Nothing"))


def test_the_same_looks_make_the_same_page() -> None:
    assert page([translation()], title="A dog") == page([translation()], title="A dog")


# ---- the data


def test_the_data_is_the_look() -> None:
    one = translation()
    archive = Archive(page([one], title="A dog"))
    source, output = archive.about["looks"][0]["sides"]
    assert source["pieces"] == ["Ein", "brau", "ner", "Hund", "rennt", ".", "END"]
    assert (source["kinds"], output["kinds"]) == ("..-..+e", "....e")
    blocks = archive.about["looks"][0]["blocks"]
    assert [block["heads"] for block in blocks] == [0, 4, 4, 4] * 3  # before each group's layers, their mean
    layer = one.layers[7]
    assert blocks[10]["names"] == [layer.name]
    assert (blocks[10]["queries"], blocks[10]["keys"]) == (1, 0)
    torch.testing.assert_close(archive.maps(0, 10)[:-1].float(), layer.pooled, atol=2e-5, rtol=0)
    torch.testing.assert_close(archive.maps(0, 10)[-1].float(), layer.pooled.mean(0), atol=2e-5, rtol=0)
    lines = archive.lines(0, 10)
    torch.testing.assert_close(lines["entropy"][:-1].float(), layer.entropy, atol=1e-4, rtol=0)
    torch.testing.assert_close(lines["received"][:-1].float(), layer.received, atol=1e-4, rtol=0)
    assert torch.equal(lines["keys"][:-1], layer.received.sort(descending=True, stable=True).indices)


def test_single_weights_of_a_long_text_are_those_that_were_recorded() -> None:
    one = watched(300, layers=1, heads=2)
    archive = Archive(page([one], title="Long"))
    layer = one.layers[0]
    for head in range(2):
        found = archive.singles(0, 0, head, 300, 300)
        for query in (0, 17, 299):
            kept = layer.topk.keys[head, query] >= 0
            keys, weights = layer.topk.keys[head, query][kept], layer.topk.weights[head, query][kept]
            torch.testing.assert_close(found[query, keys].float(), weights, atol=2e-5, rtol=0)
            assert (found[query] > 0).sum() <= len(keys)


def test_the_page_says_what_is_pooled_and_what_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    (exact,) = Tree(page([watched(300)], title="Long")).text(**{"class": "exact"})
    assert "up to 2 queries gave to up to 2 keys together" in exact
    assert "the 54 strongest single weights of each query are drawn, right to three decimals: any other" in exact
    monkeypatch.setattr(import_module("regard.explain.page"), "SIZE", 240_000)
    html = page([watched(300)], title="Long")
    (exact,) = Tree(html).text(**{"class": "exact"})
    (least,) = re.findall(r"single weights of at least ([\d.e-]+) are kept, below that the pooled map", exact)
    assert float(least) == Archive(html).about["least"] > 0


@pytest.mark.parametrize("size", [200_000, 300_000, 500_000])
def test_no_page_is_larger_than_its_size(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the pieces: `<` takes six bytes in a script."""
    monkeypatch.setattr(import_module("regard.explain.page"), "SIZE", size)
    pages = page([watched(300)], title="Long"), page([look(("▁<<<",) * 40, ("▁é",) * 40, layers=4, heads=8)], title="<")
    assert all(size / 3 < len(html.encode()) <= size for html in pages)


def test_pages_stay_small(record_property: Callable[[str, object], None]) -> None:
    for name, looks, most in (
        ("3 x 2 layers of 4 heads, a short sentence", [translation()], 150_000),
        ("a hundred sentences", [look(seed=seed) for seed in range(100)], 1_500_000),
        ("1,024 heads", [watched(20, layers=32, heads=32)], 1_500_000),
        ("8,192 pieces, 64 heads", [long(8192, layers=8, heads=8)], SIZE),
    ):
        size = len(page(looks, title="Size").encode())
        record_property("note", f"page of {name}: {size / 1000:,.0f} kB")
        assert size <= most


# ---- without JavaScript


def test_without_a_script_entropies_and_strongest_keys_are_there() -> None:
    one = translation()
    tree = Tree(page([one], title="A dog"))
    assert tree.text(tag="td") == [f"{nats:.2f}" for layer in one.layers for nats in layer.entropy.mean(-1).tolist()]
    assert "output → source, mean of 3 layers and their heads" in tree.text(tag="h3")[-1]
    weights = torch.stack([layer.pooled.mean(0) for layer in one.layers[6:]]).mean(0)
    expected = weights.topk(section.STRONGEST).values.flatten().tolist()
    assert tree.text(**{"class": "number"}) == [f"{weight:.3f}" for weight in expected]


def test_without_a_script_a_long_text_shows_one_head_and_says_how_much_more_there_is() -> None:
    one = watched(2100, layers=1, heads=2)
    tree = Tree(page([one], title="Long"))
    sharpest = int(one.layers[0].entropy.mean(-1).argmin())
    assert f"head {sharpest}, of all heads the one with the least entropy" in tree.text(tag="h3")[-1]
    assert "… and 100 pieces more." in tree.text(tag="p")
    assert tree.tags["li"] == section.QUERIES
    topk = one.layers[0].topk
    assert tree.text(**{"class": "number"})[0] == f"{topk.weights[sharpest, 0, 0]:.3f}"


def test_several_looks_have_a_list() -> None:
    assert "<nav" not in page([look()], title="One")
    tree = Tree(page([look(), look("▁Zwei </s>", "▁Two </s>", title="")], title="Two"))
    assert tree.text(tag="bdi")[:4] == ["Ein brauner Hund rennt.", "A brown dog runs", "Zwei", "Two"]
    assert tree.text(tag="h2") == ["A dog", "Sentence 2"]


def test_a_heading_does_not_stand_twice() -> None:
    assert "hidden" in re.findall(r"<h2[^>]*>", page([look()], title="A dog"))[0]
    assert "hidden" not in re.findall(r"<h2[^>]*>", page([look()], title="Dogs"))[0]


@pytest.mark.parametrize("make", [picture, sound])
def test_a_side_of_places_has_its_picture(make: Callable[[], Look]) -> None:
    one = make()
    (source,) = Tree(page([one], title="Seen")).values("src")
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == one.sides[0].grid.png


def test_a_sound_can_be_played() -> None:
    one = sound(played=True)
    written = page([one], title="Heard")
    assert "; img-src data:; media-src data:; base-uri 'none'" in written
    tree = Tree(written)
    assert tree.tags["audio"] == 1
    assert base64.b64decode(tree.values("src")[1].removeprefix("data:audio/flac;base64,")) == one.sides[0].grid.sound
    silent = page([sound()], title="Seen")
    assert "media-src" not in silent
    assert "<audio" not in silent


# ---- colours


def palettes() -> dict[str, dict[str, tuple[float, ...]]]:
    style = files("regard.explain").joinpath("assets", "page.css").read_text(encoding="utf-8")
    blocks = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    found = [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]
    light, dark, printed = (
        {name: tuple(int(value[start : start + 2], 16) / 255 for start in (1, 3, 5)) for name, value in each.items()}
        for each in found
    )
    return {"light": light, "dark": dark, "print": printed}


def luminance(colour: tuple[float, ...]) -> float:
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def mixed(one: tuple[float, ...], other: tuple[float, ...], share: float) -> tuple[float, ...]:
    return tuple(a + (b - a) * share for a, b in zip(one, other, strict=True))


def ramp(colours: dict[str, tuple[float, ...]]) -> list[tuple[float, ...]]:
    stops = [colours[f"ramp-{stop}"] for stop in range(5)]
    return [mixed(stops[i // 16], stops[min(i // 16 + 1, 4)], i % 16 / 16) for i in range(65)]


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_text_can_be_read_on_every_ground(scheme: str) -> None:
    """WCAG 2.2's 4.5:1, for text on a word lit up by any weight too."""
    colours = palettes()[scheme]
    for ground in ("page", "surface"):
        assert contrast(colours["muted"], colours[ground]) >= 4.5
        assert contrast(colours["pick"], colours[ground]) >= 4.5
        assert contrast(colours["link"], colours[ground]) >= 3  # the focus ring
    for ground in ("page", "surface", "pick-soft"):
        for tenths in range(11):
            assert contrast(colours["ink"], mixed(colours[ground], colours["glow"], tenths / 10)) >= 4.5


@pytest.mark.parametrize("scheme", ["light", "dark", "print"])
def test_weights_are_told_apart_by_luminance_alone(scheme: str) -> None:
    """So they are by those who see no colours, and on grey paper."""
    depths = [luminance(cell) for cell in ramp(palettes()[scheme])]
    steps = [b - a for a, b in pairwise(depths)]
    assert all(step < 0 for step in steps) or all(step > 0 for step in steps)
    assert abs(depths[-1] - depths[0]) > 0.7


def test_paper_is_light() -> None:
    found = palettes()
    shared = found["print"].keys() & found["light"].keys() - {"page"}
    assert len(shared) > 12
    assert {name: found["print"][name] for name in shared} == {name: found["light"][name] for name in shared}
