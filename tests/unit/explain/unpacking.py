"""Reads a page's numbers back as its script does, written once more and in Python."""

import base64
import json
import re
import zlib
from typing import Any

import torch
from torch import Tensor


class Planes:
    """Packed numbers of several bytes each: the lowest byte of all of them, then the next of all."""

    def __init__(self, text: str) -> None:
        self.bytes = torch.tensor(list(zlib.decompress(base64.b64decode(text))), dtype=torch.int64)

    def take(self, size: int, width: int) -> Tensor:
        bytes_, self.bytes = self.bytes[: size * width], self.bytes[size * width :]
        return sum(bytes_[place * size : (place + 1) * size] << 8 * place for place in range(width))


def numbers(levels: Tensor, maximum: float, bits: int) -> Tensor:
    return maximum * (levels.double() / (2**bits - 1)) ** 2


def singles(planes: Planes, about: list[float], bits: int, queries: int, keys: int) -> Tensor:
    """The single weights of a head, (queries, keys), 0 where none was kept."""
    size, count_width, step_width, maximum = about
    counts = planes.take(queries, int(count_width)).tolist()
    steps = planes.take(int(size), int(step_width)).tolist()
    weights = numbers(planes.take(int(size), bits // 8), maximum, bits)
    found = torch.zeros(queries, keys, dtype=torch.float64)
    at = 0
    for query, count in enumerate(counts):
        key = query * keys // queries
        for place in range(count):
            step = steps[at]
            key += step if place else -(step + 1) // 2 if step % 2 else step // 2
            found[query, key] = weights[at]
            at += 1
    return found


class Archive:
    """What stands in a page."""

    def __init__(self, html: str) -> None:
        (about,) = re.findall(r'<script type="application/json" id="about">(.*?)</script>', html, re.DOTALL)
        self.raw: str = about
        self.about: dict[str, Any] = json.loads(about)
        self.texts: dict[str, str] = dict(
            re.findall(r'<script type="application/octet-stream" id="([\w-]+)">(.*?)</script>', html)
        )

    def block(self, look: int, number: int) -> dict[str, Any]:
        return dict(self.about["looks"][look]["blocks"][number])

    def maps(self, look: int, number: int) -> Tensor:
        block = self.block(look, number)
        shape = len(block["maxima"]), block["rows"], block["columns"]
        levels = Planes(self.texts[f"maps-{look}-{number}-0"]).take(
            shape[0] * shape[1] * shape[2], block["mapBits"] // 8
        )
        each = levels.view(shape)
        return torch.stack(
            [numbers(one, top, block["mapBits"]) for one, top in zip(each, block["maxima"], strict=True)]
        )

    def lines(self, look: int, number: int) -> dict[str, Tensor]:
        block = self.block(look, number)
        planes = Planes(self.texts[f"lines-{look}-{number}-0"])
        maps, found = len(block["maxima"]), {}
        for name in ("entropy", "received"):
            bins = block[name]["bins"]
            levels = planes.take(maps * bins, block["lineBits"] // 8).view(maps, bins)
            tops = zip(levels, block[name]["maxima"], strict=True)
            found[name] = torch.stack([numbers(one, top, block["lineBits"]) for one, top in tops])
        found["keys"] = planes.take(maps * block["ranked"]["size"], 4).view(maps, -1)
        return found

    def singles(self, look: int, number: int, head: int, queries: int, keys: int) -> Tensor:
        block = self.block(look, number)
        planes = Planes(self.texts[f"singles-{look}-{number}-{head}"])
        return singles(planes, block["singles"][head], block["singleBits"], queries, keys)
