"""Pictures changed anew in every epoch, so that a model learns what does not depend on light, place and size."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from regard.data.scene import Scene, coloured, cropped, flipped, resized, tiled, turned


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How a picture is changed before it is trained on.

    Args:
        flip: Probability of seeing it in a mirror.
        turn: Probability of a turn by quarters of a circle, for pictures without an up and down.
        smallest: Least factor of its size.
        largest: Greatest factor of its size; the factor is drawn evenly on a logarithmic scale.
        stretch: Greatest factor between the changes of height and width (1: both change alike).
        colour: How far brightness, contrast and saturation may change, as a share; the hue changes by a tenth of that.
        mosaic: Probability of four pictures in one, each at about half its size.
    """

    flip: float = 0.5
    turn: float = 0.0
    smallest: float = 0.5
    largest: float = 2.0
    stretch: float = 1.2
    colour: float = 0.4
    mosaic: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "turn", "mosaic"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"augmentation.{name} is a probability, from 0 to 1; got {getattr(self, name)}")
        if not 0.0 < self.smallest <= self.largest:
            raise ValueError(
                f"augmentation.smallest and largest are factors, 0 < smallest <= largest; got {self.smallest} and "
                f"{self.largest}"
            )
        if self.stretch < 1.0:
            raise ValueError(f"augmentation.stretch is a factor of 1 or more; got {self.stretch}")
        if not 0.0 <= self.colour < 1.0:
            raise ValueError(f"augmentation.colour is a share, 0 <= colour < 1; got {self.colour}")

    def __call__(
        self, read: Callable[[int], Scene], item: int, items: int, size: tuple[int, int], random: Random
    ) -> Scene:
        """The scene of `item`, changed, of `size` (height and width).

        Args:
            read: gives the scene of an item as it is.
            item: which.
            items: how many there are, of which a mosaic takes others.
            size: of what is returned.
            random: all chance comes from here.
        """
        if random.random() < self.mosaic:
            height, width = size
            row, column = (round(length * random.uniform(0.3, 0.7)) for length in size)
            chosen = [item, *(random.randrange(items) for _ in range(3))]
            scenes = [self._turned(read(one), random) for one in chosen]
            random.shuffle(scenes)
            quarters = [(tall, wide) for tall in (row, height - row) for wide in (column, width - column)]
            parts = [self._placed(one, part, random, 0.5) for one, part in zip(scenes, quarters, strict=True)]
            scene = tiled(parts, height, width, row, column)
        else:
            scene = self._placed(self._turned(read(item), random), size, random, 1.0)
        if random.random() < self.flip:
            scene = flipped(scene)
        return self._lit(scene, random)

    def _turned(self, scene: Scene, random: Random) -> Scene:
        return turned(scene, random.randrange(4)) if random.random() < self.turn else scene

    def _placed(self, scene: Scene, size: tuple[int, int], random: Random, factor: float) -> Scene:
        """A part of the scene at a scale and a place of chance; where it is smaller than `size`, with grey around."""
        scale = factor * self.smallest * (self.largest / self.smallest) ** random.random()
        stretch = self.stretch ** random.uniform(-0.5, 0.5)
        # Cut before it is scaled: what is thrown away is not computed.
        part = [max(1, round(length / by)) for length, by in zip(size, (scale * stretch, scale / stretch), strict=True)]
        corner = [
            random.randint(min(0, whole - piece), max(0, whole - piece))
            for whole, piece in zip(scene.size, part, strict=True)
        ]
        return resized(cropped(scene, corner[0], corner[1], part[0], part[1]), *size)

    def _lit(self, scene: Scene, random: Random) -> Scene:
        if not self.colour:
            return scene
        brightness, contrast, saturation = (1.0 + random.uniform(-self.colour, self.colour) for _ in range(3))
        hue = 0.1 * random.uniform(-self.colour, self.colour)
        return coloured(scene, brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
