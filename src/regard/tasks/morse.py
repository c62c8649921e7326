"""Morse code as radio listeners hear it: keyed by hands of many habits, at many speeds, through fading and noise."""

from dataclasses import dataclass
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

RATE = 8000  # samples a second
CODE = {
    "A": ".-", "B": "-...", "C": "-.-.", "D": "-..", "E": ".", "F": "..-.", "G": "--.", "H": "....", "I": "..",
    "J": ".---", "K": "-.-", "L": ".-..", "M": "--", "N": "-.", "O": "---", "P": ".--.", "Q": "--.-", "R": ".-.",
    "S": "...", "T": "-", "U": "..-", "V": "...-", "W": ".--", "X": "-..-", "Y": "-.--", "Z": "--..",
    "0": "-----", "1": ".----", "2": "..---", "3": "...--", "4": "....-", "5": ".....", "6": "-....", "7": "--...",
    "8": "---..", "9": "----.", "/": "-..-.", "?": "..--..",
}  # fmt: skip
_WORDS = (
    "CQ DE TEST UR RST IS QTH NAME OP RIG ANT WX PSE AGN TNX FER CALL QSO GM GA GE DR OM HW CPY SIG NR FB ES HR "
    "VY GUD BK QSL VIA BURO QRM QRN QSB QSY UP DN PWR WATTS DIPOLE VERT BEAM RAIN SUN SNOW WIND COLD WARM FINE "
    "AGE YRS HPE CUL MNI 73 88 5NN 599 579 559 QRZ? K R ANN BEN CARLA DAN EVA FRED GINA HUGO IRIS JACK KIM"
)
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_PREFIXES = ["DL", "F", "G", "I", "JA", "K", "LA", "N", "OH", "OK", "ON", "PA", "SM", "SP", "VE", "VK", "W", "ZL", "9A"]
_EDGE = 0.005  # seconds in which a tone comes and goes


@dataclass(frozen=True, kw_only=True)
class Keyed:
    """A sound, what it says, and the seconds from which to which each character is keyed (spaces have none)."""

    sound: Float[Tensor, " samples"]
    text: str
    times: tuple[tuple[float, float], ...]


def key(random: Random, *, words: int = 4) -> Keyed:
    """A transmission of so many words.

    The speed is from 14 to 28 words a minute (a dit has 1.2 seconds over it), the pitch from 550 to 650 Hz. A hand has
    its own ratio of dahs and gaps, and no two of its dits are the same; the band fades, and has noise 20 to 30 decibels
    below the tone.
    """
    text = " ".join(_word(random) for _ in range(words))
    dit = 1.2 / random.uniform(14.0, 28.0)
    dah, inside, between, gap = (random.uniform(*span) for span in ((2.7, 3.5), (0.8, 1.2), (2.6, 3.6), (5.5, 9.0)))
    unsteady = random.uniform(0.02, 0.12)

    def lasting(units: float) -> float:
        return max(0.4, units * random.gauss(1.0, unsteady)) * dit

    now = random.uniform(0.1, 0.5)
    tones: list[tuple[float, float]] = []
    times: list[tuple[float, float]] = []
    for word in text.split():
        for character in word:
            start = now
            for mark in CODE[character]:
                end = now + lasting(1.0 if mark == "." else dah)
                tones.append((now, end))
                now = end + lasting(inside)
            times.append((start, tones[-1][1]))
            now = tones[-1][1] + lasting(between)
        now = tones[-1][1] + lasting(gap)
    whole = tones[-1][1] + random.uniform(0.1, 0.5)
    return Keyed(sound=_heard(tones, round(whole * RATE), random), text=text, times=tuple(times))


def _word(random: Random) -> str:
    """A call sign, a report, or a word of the trade."""
    drawn = random.random()
    if drawn < 0.25:
        letters = "".join(random.choices(_LETTERS, k=random.randint(2, 3)))
        return f"{random.choice(_PREFIXES)}{random.randint(0, 9)}{letters}"
    if drawn < 0.3:
        return str(random.randint(1, 9999))
    return random.choice(_WORDS.split())


def _heard(tones: list[tuple[float, float]], samples: int, random: Random) -> Float[Tensor, "{samples}"]:
    """The sound of these tones at the other end."""
    clock = torch.arange(samples) / RATE
    level = torch.zeros(samples)
    for start, end in tones:
        first, last = round(start * RATE), min(samples, round((end + _EDGE) * RATE))
        own = clock[first:last]
        rising, falling = (own - start) / _EDGE, (end + _EDGE - own) / _EDGE
        level[first:last] = 0.5 - 0.5 * torch.cos(torch.pi * torch.minimum(rising, falling).clamp(0.0, 1.0))
    pitch, drift = random.uniform(550.0, 650.0), random.uniform(-10.0, 10.0)
    phase = 2.0 * torch.pi * (pitch * clock + 0.5 * drift * clock.square() / max(1.0, samples / RATE))
    depth, slow = random.uniform(0.0, 0.6), random.uniform(0.1, 0.7)
    fading = 1.0 - depth * (0.5 + 0.5 * torch.sin(2.0 * torch.pi * slow * clock + random.uniform(0.0, 6.3)))
    generator = torch.Generator().manual_seed(random.getrandbits(63))
    noise = torch.randn(samples, generator=generator) * 10.0 ** (-random.uniform(20.0, 30.0) / 20.0) * 0.707
    sound = level * fading * torch.sin(phase) + noise
    return 0.5 * sound / sound.abs().max()
