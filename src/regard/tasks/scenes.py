"""Drawn scenes: shapes of many sizes, colours and textures, one over the other, whose every pixel is known."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from regard.data.pictures import to_tensor
from regard.data.scene import VISIBLE, Scene

BACKGROUND = "background"
SHAPES = ("circle", "square", "triangle", "star", "cross")
TEXTURES = ("plain", "striped", "checkered", "dotted")
COLOURS = {
    "red": (200, 50, 45),
    "orange": (230, 140, 40),
    "yellow": (225, 205, 60),
    "green": (60, 150, 70),
    "blue": (50, 90, 190),
    "purple": (130, 65, 160),
    "white": (232, 232, 228),
    "black": (40, 40, 44),
}
SIZES = {"small": (0.12, 0.2), "middling": (0.2, 0.34), "large": (0.34, 0.55)}  # of the picture's side
_LEAN = 0.3  # radians, at most: things stand upright, more or less, as they do in photographs
_NOISE = 9.0  # of 255, the standard deviation at each pixel


@dataclass(frozen=True, kw_only=True)
class Thing:
    """A shape in a scene.

    Args:
        shape, colour, texture, size: their names.
        row, column: of its centre, in pixels.
        radius: from the centre to its farthest point, in pixels.
        angle: at which its first corner lies, in radians: -pi / 2 stands upright.
    """

    shape: str
    colour: str
    texture: str
    size: str
    row: float
    column: float
    radius: float
    angle: float

    def __str__(self) -> str:
        return " ".join(each for each in (self.size, self.texture, self.colour, self.shape) if each != "plain")

    def outline(self) -> list[tuple[float, float]]:
        """The corners, column and row of each."""
        found = []
        for turn, distance in _corners(self.shape):
            reach, angle = distance * self.radius, self.angle + turn
            found.append((self.column + reach * math.cos(angle), self.row + reach * math.sin(angle)))
        return found


@dataclass(frozen=True, kw_only=True, eq=False)
class Drawn:
    """A scene, its mask (0: background, 1: the first of `SHAPES`, ...), its boxes (labels from 0), and its things.

    The things are those of the boxes, from the back to the front: each of which at least `VISIBLE` can be seen.
    """

    scene: Scene
    things: tuple[Thing, ...]

    def __str__(self) -> str:
        return ", ".join(map(str, self.things)) or "nothing"


def draw(random: Random, *, side: int = 96, most: int = 6) -> Drawn:
    """A square scene of one to `most` things, all of it by chance."""
    things = [_thing(random, side) for _ in range(random.randint(1, most))]
    generator = torch.Generator().manual_seed(random.getrandbits(63))
    pixels = _ground(random, side, generator)
    mask = torch.zeros(side, side, dtype=torch.uint8)
    owner = torch.full((side, side), -1)
    insides = []
    for number, thing in enumerate(things):
        inside = _inside(thing, side)
        colour = torch.tensor(COLOURS[thing.colour]).view(3, 1, 1) * _texture(thing, side)
        pixels = torch.where(inside, colour, pixels)
        mask[inside] = 1 + SHAPES.index(thing.shape)
        owner[inside] = number
        insides.append(inside)
    pixels = pixels * random.uniform(0.75, 1.1) + _NOISE * torch.randn(pixels.shape, generator=generator)
    seen = [
        number
        for number, inside in enumerate(insides)
        if int((owner == number).sum()) >= max(1.0, VISIBLE * int(inside.sum()))
    ]
    boxes = torch.tensor([_box(owner == number) for number in seen]).view(-1, 4)
    labels = torch.tensor([SHAPES.index(things[number].shape) for number in seen], dtype=torch.long)
    picture = pixels.round().clamp(0, 255).byte()
    return Drawn(
        scene=Scene(picture=picture, mask=mask, boxes=boxes, labels=labels),
        things=tuple(things[number] for number in seen),
    )


def _thing(random: Random, side: int) -> Thing:
    size = random.choice(list(SIZES))
    low, high = SIZES[size]
    return Thing(
        shape=random.choice(SHAPES),
        colour=random.choice(list(COLOURS)),
        texture=random.choice(TEXTURES),
        size=size,
        row=random.uniform(0.08, 0.92) * side,
        column=random.uniform(0.08, 0.92) * side,
        radius=random.uniform(low, high) * side / 2.0,
        angle=random.uniform(-_LEAN, _LEAN) - math.pi / 2.0,
    )


def _corners(shape: str) -> Sequence[tuple[float, float]]:
    """Each corner's angle, and its distance from the centre as a share of the radius."""
    match shape:
        case "circle":
            return [(2.0 * math.pi * number / 48, 1.0) for number in range(48)]
        case "square":
            return [(math.pi * (number / 2 + 0.25), 1.0) for number in range(4)]
        case "triangle":
            return [(2.0 * math.pi * number / 3, 1.0) for number in range(3)]
        case "star":
            return [(math.pi * number / 5, 0.42 if number % 2 else 1.0) for number in range(10)]
    # A cross of two bars, each a third as wide as long: twelve corners, three to each quarter.
    tip, notch = math.atan2(1.0, 3.0), math.sqrt(2.0) / math.sqrt(10.0)
    quarter = ((-tip, 1.0), (tip, 1.0), (math.pi / 4, notch))
    return [(angle + math.pi * number / 2, distance) for number in range(4) for angle, distance in quarter]


def _inside(thing: Thing, side: int) -> Bool[Tensor, "side side"]:
    plane = Image.new("RGB", (side, side))
    ImageDraw.Draw(plane).polygon(thing.outline(), fill=(255, 255, 255))
    return to_tensor(plane)[0] > 0


def _texture(thing: Thing, side: int) -> Float[Tensor, "side side"]:
    """A factor of the colour's brightness at each pixel, on the thing's own axes."""
    rows, columns = torch.meshgrid(torch.arange(side) - thing.row, torch.arange(side) - thing.column, indexing="ij")
    along = columns * math.cos(thing.angle) + rows * math.sin(thing.angle)
    across = rows * math.cos(thing.angle) - columns * math.sin(thing.angle)
    period = max(4.0, thing.radius / 2.2)
    waves = (along / period * 2.0 * math.pi).sin(), (across / period * 2.0 * math.pi).sin()
    match thing.texture:
        case "striped":
            dark = waves[0] > 0
        case "checkered":
            dark = waves[0] * waves[1] > 0
        case "dotted":
            dark = waves[0] + waves[1] > 1.0
        case _:
            dark = torch.zeros(side, side, dtype=torch.bool)
    return torch.where(dark, 0.55, 1.0)


def _ground(random: Random, side: int, generator: torch.Generator) -> Float[Tensor, "3 side side"]:
    """Clouds between two colours."""
    ends = torch.tensor([[random.uniform(60, 215) for _ in range(3)] for _ in range(2)]).view(2, 3, 1, 1)
    coarse = torch.rand(1, 1, 5, 5, generator=generator)
    clouds = functional.interpolate(coarse, (side, side), mode="bicubic", align_corners=True)[0].clamp(0, 1)
    return ends[0] * (1.0 - clouds) + ends[1] * clouds


def _box(seen: Bool[Tensor, "side side"]) -> tuple[float, float, float, float]:
    rows, columns = seen.any(1).nonzero().flatten(), seen.any(0).nonzero().flatten()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
