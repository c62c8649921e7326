"""Masks as pictures: text for a terminal, SVG for a notebook, at the sizes that the mask was built for."""

import re
from dataclasses import dataclass
from html.parser import HTMLParser

import pytest
import torch
from torch import Tensor

import regard
from regard.attention.place import Place


def drawn(*lines: str) -> str:
    return "\n".join(lines)


def refuses(text: str) -> pytest.RaisesExc:
    return pytest.raises(ValueError, match=re.escape(text))


def test_causal() -> None:
    assert regard.Causal().picture(4) == drawn("#...", "##..", "###.", "####")
    assert regard.Causal().picture(3, 5, offset=2) == drawn("###..", "####.", "#####")
    assert regard.Causal().picture(3, 5, offset=-1) == drawn(".....", "#....", "##...")


def test_window() -> None:
    assert regard.Window(1).picture(5) == drawn("##...", "###..", ".###.", "..###", "...##")
    assert regard.Window(0, 2).picture(4) == drawn("###.", ".###", "..##", "...#")
    assert (regard.Causal() & regard.Window(1)).picture(4) == drawn("#...", "##..", ".##.", "..##")


def test_documents() -> None:
    assert regard.Documents([2, 3]).picture() == drawn("##...", "##...", "..###", "..###", "..###")
    assert regard.Documents([1, 2], key_lengths=[2, 3]).picture() == drawn("##...", "..###", "..###")
    causal = regard.Documents([2, 3]) & regard.Causal()
    assert causal.picture() == drawn("#....", "##...", "..#..", "..##.", "..###")


def test_strided() -> None:
    assert regard.Strided(3).picture(5) == drawn("#..#.", ".#..#", "..#..", "#..#.", ".#..#")
    assert regard.Strided(2).picture(2, 5, offset=1) == drawn(".#.#.", "#.#.#")


def test_blocks() -> None:
    assert regard.Blocks(2).picture(5) == drawn("##...", "##...", "..##.", "..##.", "....#")
    layout = torch.tensor([[True, False, True], [False, True, False]])
    assert regard.Blocks(2, layout).picture() == drawn("##..##", "##..##", "..##..", "..##..")
    assert regard.Blocks(2, layout).picture(3, 5) == drawn("##..#", "##..#", "..##.")


def test_a_picture_for_each_batch_row_where_they_differ() -> None:
    assert regard.Lengths([2, 3]).picture(2) == drawn("##.", "##.", "", "###", "###")
    assert regard.Lengths([1, 1], start=[0, 1]).picture(1) == drawn("#.", "", ".#")
    two = regard.Documents([[1, 2], [3, 0]])
    assert two.picture() == drawn("#..", ".##", ".##", "", "###", "###", "###")


def test_a_mask_prints_its_name_and_its_picture() -> None:
    assert str(regard.Documents([1, 2])) == drawn("Documents([1, 2])", "#..", ".##", ".##")
    lines = str(regard.Causal()).split("\n")
    assert lines[0] == "Causal()"
    assert lines[1:] == ["#" * (i + 1) + "." * (11 - i) for i in range(12)]  # 12 where the mask does not say
    assert f"{~regard.Causal()}".split("\n")[:2] == ["~Causal()", "." + "#" * 11]
    assert repr(regard.Documents([1, 2])) == "Documents([1, 2])"


@pytest.mark.parametrize(
    ("mask", "size"),
    [
        (regard.Lengths([3, 5]), (5, 5)),
        (regard.Lengths([3, 5], start=[4, 1]), (7, 7)),
        (regard.Documents([2, 3], [4, 1]), (5, 5)),
        (regard.Documents([2, 1], [4, 1]), (3, 5)),
        (regard.Dense(torch.ones(3, 5, dtype=torch.bool)), (3, 5)),
        (regard.Dense(torch.ones(7, dtype=torch.bool)), (7, 7)),
        (regard.Dense(torch.ones(7, 1, dtype=torch.bool)), (7, 7)),
        (regard.Blocks(2, torch.ones(2, 3, dtype=torch.bool)), (4, 6)),
        (regard.Causal() & ~regard.Documents([2, 1], [4, 1]), (3, 5)),
        (regard.Causal() | regard.Lengths([3, 5]) & regard.Dense(torch.ones(2, 1, 3, 11, dtype=torch.bool)), (3, 11)),
        (regard.Window(2), (12, 12)),
    ],
    ids=repr,
)
def test_sizes_are_the_mask_s_own(mask: regard.Mask, size: tuple[int, int]) -> None:
    lines = mask.picture().split("\n\n")[0].split("\n")
    assert (len(lines), len(lines[0])) == size
    assert len(set(map(len, lines))) == 1


def test_other_sizes_are_the_mask_s_own_error() -> None:
    text = "Documents([2, 3]) adds up to [5] queries, but the call has 7; give every row lengths whose sum is"
    with refuses(text):
        regard.Documents([2, 3]).picture(7)
    with refuses(text):
        (regard.Causal() & regard.Documents([2, 3])).picture(7, 5)
    with refuses("Lengths([3, 5]) reaches key 5, but there are only 4 keys"):
        regard.Lengths([3, 5]).picture(4, 4)
    with refuses("Dense((3, 5)) does not broadcast to (batch, heads, queries, keys) = (1, 1, 3, 7)"):
        regard.Dense(torch.ones(3, 5, dtype=torch.bool)).picture(3, 7)
    text = (
        "Blocks(2, layout=(2, 2)) has (2, 2) blocks of 2, but the call reaches (3, 2): 4 queries at offset 2 and 4 keys"
    )
    with refuses(text):
        regard.Blocks(2, torch.ones(2, 2, dtype=torch.bool)).picture(offset=2)


@pytest.mark.parametrize("heads", [2, 3])
def test_the_first_of_many_heads_is_drawn(heads: int) -> None:
    tensor = torch.zeros(heads, 2, 3, dtype=torch.bool)
    tensor[0, :, 1] = True
    assert regard.Dense(tensor).picture() == drawn(".#.", ".#.")
    assert regard.Dense(tensor[None].expand(2, -1, -1, -1)).picture() == drawn(".#.", ".#.", "", ".#.", ".#.")
    layout = torch.zeros(heads, 1, 2, dtype=torch.bool)
    layout[0, 0, 1] = True
    both = regard.Blocks(2, layout) & regard.Dense(torch.ones(heads, 1, 1, dtype=torch.bool))
    assert both.picture() == drawn("..##", "..##")
    assert "<svg" in both._repr_html_()


def test_what_is_long_is_cut_and_says_so() -> None:
    lines = regard.Causal().picture(100).split("\n")
    assert (len(lines), len(lines[0])) == (65, 64)
    assert lines[-1] == "(the first 64 of more)"
    assert "(the first 64 of more)" in regard.Lengths([100])._repr_html_()
    assert len(regard.Causal().picture(64).split("\n")) == 64


def test_empty_pictures() -> None:
    assert regard.Lengths([0]).picture(2, 3) == drawn("...", "...")
    assert (regard.Causal() & ~regard.Causal()).picture(1, 2) == ".."


# SVG


class Parser(HTMLParser):
    """What stands in a piece of HTML, whose tags are all closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.texts: list[str] = []
        self.fills: list[str] = []
        self.attributes: dict[str, dict[str, str | None]] = {}
        self.feed(html)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append(tag)
        self.attributes[tag] = dict(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fills.append(dict(attrs)["fill"] or "")

    def handle_endtag(self, tag: str) -> None:
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_notebook_draws_every_cell() -> None:
    mask = regard.Causal() & regard.Documents([2, 3])
    parsed = Parser(mask._repr_html_())
    text = mask.picture().replace("\n", "")
    assert len(parsed.fills) == 25
    seen = parsed.fills[0]
    assert "".join("#" if fill == seen else "." for fill in parsed.fills) == text
    assert (parsed.attributes["svg"]["width"], parsed.attributes["svg"]["height"]) == ("40", "40")
    assert parsed.attributes["svg"]["role"] == "img"
    assert parsed.attributes["svg"]["aria-label"] == repr(mask)
    assert parsed.texts == [repr(mask)]


@dataclass(frozen=True)
class Named(regard.Mask):
    """A mask of one's own, whose name has something to escape in it."""

    name: str

    def allowed(self, place: Place) -> Tensor:
        return (place.key_index % 2 == 0).view(1, 1, 1, -1)


def test_a_notebook_s_page_is_escaped() -> None:
    mask = Named('"><script>alert(1)</script>') & regard.Causal()
    html = mask._repr_html_()
    assert "<script" not in html
    assert "&amp; Causal()" in html
    parsed = Parser(html)
    assert parsed.texts == [repr(mask)]
    assert parsed.attributes["svg"]["aria-label"] == repr(mask)
    assert set(parsed.attributes) == {"figure", "svg", "figcaption", "code"}


def test_a_mask_of_one_s_own_is_drawn() -> None:
    assert Named("even").picture(2, 5) == drawn("#.#.#", "#.#.#")
    assert str(Named("even")).startswith("Named(name='even')\n#.#.")
