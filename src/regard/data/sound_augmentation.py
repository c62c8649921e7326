"""Changing recordings by chance in training: speed, noise, and bands and stretches of time that are left out."""

from dataclasses import dataclass, field
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

_QUIETEST, _LOUDEST = 5.0, 30.0  # decibels of speech over noise


@dataclass(frozen=True, kw_only=True)
class SoundAugmentation:
    """How recordings are changed anew in each epoch.

    Speed changes pitch with it (Ko et al. 2015); what is left out of features is their mean (SpecAugment, Park et al.
    2019).

    Args:
        speed: Factors of speed, one of which is drawn for each recording ([1.0]: never changed).
        noise: Probability of adding noise, from white to brown, 5 to 30 decibels below the speech.
        bands: How many bands of frequency are left out.
        widest: The widest of them, as a share of all bands.
        gaps: How many stretches of time are left out.
        longest: The longest of them, as a share of the recording.
    """

    speed: list[float] = field(default_factory=lambda: [0.9, 1.0, 1.1])
    noise: float = 0.0
    bands: int = 2
    widest: float = 0.33
    gaps: int = 2
    longest: float = 0.1

    def __post_init__(self) -> None:
        if not self.speed or not all(0.5 <= factor <= 2.0 for factor in self.speed):
            raise ValueError(f"speed is a list of factors from 0.5 to 2, such as [0.9, 1.0, 1.1]; got {self.speed}")
        for name in ("noise", "widest", "longest"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} is a share, from 0 to 1; got {getattr(self, name)}")
        for name in ("bands", "gaps"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} is 0 or more; got {getattr(self, name)}")

    @property
    def stretch(self) -> float:
        """The most by which a recording may become longer."""
        return 1.0 / min(self.speed)

    def of_sound(self, sound: Float[Tensor, " samples"], rate: int, random: Random) -> Float[Tensor, " _changed"]:
        """A recording at another speed, with noise."""
        speed = random.choice(self.speed)
        if speed != 1.0:
            import soxr

            sound = torch.from_numpy(soxr.resample(sound.numpy(), rate * speed, rate))
        if random.random() < self.noise:
            sound = sound + self._noise(sound, random)
        return sound

    def of_features(self, features: Float[Tensor, "frames bands"], random: Random) -> Float[Tensor, "frames bands"]:
        """Features with bands and stretches of time left out."""
        mean, (frames, bands) = features.mean(), features.shape
        features = features.clone()
        for _ in range(self.bands):
            start, end = _part(bands, self.widest, random)
            features[:, start:end] = mean
        for _ in range(self.gaps):
            start, end = _part(frames, self.longest, random)
            features[start:end] = mean
        return features

    def _noise(self, sound: Float[Tensor, " samples"], random: Random) -> Float[Tensor, " samples"]:
        generator = torch.Generator().manual_seed(random.getrandbits(63))
        spectrum = torch.fft.rfft(torch.randn(len(sound), generator=generator))
        falls = torch.arange(1, len(spectrum) + 1).pow(-random.uniform(0.0, 1.0))  # of amplitudes: white to brown
        noise = torch.fft.irfft(spectrum * falls, n=len(sound))
        below = 10.0 ** (-random.uniform(_QUIETEST, _LOUDEST) / 20.0)
        return noise * below * (sound.square().mean() / noise.square().mean().clamp_min(1e-12)).sqrt()


def _part(whole: int, share: float, random: Random) -> tuple[int, int]:
    """Where a stretch of at most this share begins and ends."""
    length = random.randint(0, int(share * whole))
    start = random.randint(0, whole - length)
    return start, start + length
