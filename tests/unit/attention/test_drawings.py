"""Records draw themselves in notebooks."""

import base64
import re
import struct
import zlib

import pytest
import torch
from torch import Tensor

import regard
from regard.attention.drawings import CELLS, HEADS


def images(html: str) -> list[Tensor]:
    """The pictures in a piece of HTML, as pixels."""
    return [pixels(base64.b64decode(data)) for data in re.findall(r'src="data:image/png;base64,([^"]+)"', html)]


def pixels(png: bytes) -> Tensor:
    """Of a PNG whose chunks are checked: every length and checksum."""
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(png):
        (length,) = struct.unpack(">I", png[place : place + 4])
        kind, content = png[place + 4 : place + 8], png[place + 8 : place + 8 + length]
        (check,) = struct.unpack(">I", png[place + 8 + length : place + 12 + length])
        assert check == zlib.crc32(kind + content)
        chunks[kind] = content
        place += 12 + length
    columns, rows, depth, colour, *rest = struct.unpack(">2I5B", chunks[b"IHDR"])
    assert (depth, colour, rest) == (8, 2, [0, 0, 0])
    lines = torch.frombuffer(bytearray(zlib.decompress(chunks[b"IDAT"])), dtype=torch.uint8).view(rows, 1 + 3 * columns)
    assert int(lines[:, 0].max()) == 0
    return lines[:, 1:].reshape(rows, columns, 3)


def seen(*record: regard.Observation, length: int = 9, heads: int = 3) -> regard.Seen:
    query = torch.randn(2, heads, length, 8)
    return regard.observe(query, query, query, mask=regard.Causal(), record=record)[1]


def test_a_map_is_as_dark_as_its_weights() -> None:
    found = seen(regard.Weights())
    html = found._repr_html_()
    assert "(2, 3, 9, 9)" in html
    drawn = images(html)
    assert len(drawn) == 3
    for picture, weights in zip(drawn, found.weights[0], strict=True):
        assert picture.shape == (9, 9, 3)
        assert torch.equal(picture[0, 1], torch.tensor([247, 251, 255], dtype=torch.uint8))  # hidden: pale
        darkness = 255 - picture[..., 0].float()
        order = weights.flatten().argsort()
        assert (darkness.flatten()[order].diff() >= 0).all()


@pytest.mark.parametrize("observation", [regard.Entropy(), regard.Received(), regard.Mass([0])])
def test_a_number_for_each_query_or_key_is_a_strip(observation) -> None:
    (picture,) = images(seen(observation)._repr_html_())
    assert picture.shape == (3, 9, 3)
    assert picture.float().std() > 1


def test_the_strongest_keys_are_drawn_where_they_stand() -> None:
    drawn = images(seen(regard.TopK(9), regard.Weights())._repr_html_())
    assert len(drawn) == 6
    for strongest, whole in zip(drawn[:3], drawn[3:], strict=True):
        assert torch.equal(strongest, whole)


def test_large_maps_and_many_heads_stay_small() -> None:
    html = seen(regard.Weights(), regard.TopK(4), length=300, heads=12)._repr_html_()
    drawn = images(html)
    assert len(drawn) == 2 * HEADS
    assert all(max(one.shape) <= CELLS for one in drawn)
    assert "and 4 more heads" in html
    assert len(html) < 1_500_000


def test_what_is_infinite_or_empty_is_drawn_too() -> None:
    query = torch.randn(1, 1, 4, 8)
    _, found = regard.observe(query, query, query, mask=regard.Lengths([0]), record=[regard.MaxScore(), regard.TopK(2)])
    assert len(images(found._repr_html_())) == 2
    _, nothing = regard.observe(
        query[:, :, :0], query, query, record=[regard.Weights(), regard.TopK(1), regard.Entropy()]
    )
    assert "(1, 1, 0, 4)" in nothing._repr_html_()
