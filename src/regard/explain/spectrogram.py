"""Sounds drawn as models hear them."""

import torch
from jaxtyping import Float
from torch import Tensor

# From silence to loud, dark to light: black, blue, orange, near white, in even steps of lightness.
_LOUDNESS = ((0, 0, 0), (46, 40, 120), (150, 60, 130), (230, 110, 70), (250, 190, 90), (255, 250, 220))


def spectrogram_png(features: Float[Tensor, "bands frames"]) -> bytes:
    """Log energies by band and frame as a PNG, high bands at the top, from the quietest to the loudest."""
    from regard.data.pictures import to_png

    low, high = features.min(), features.max()
    level = (features.flip(0) - low) / (high - low).clamp_min(1e-9) * (len(_LOUDNESS) - 1)
    colours = torch.tensor(_LOUDNESS).float()
    below = level.floor().long().clamp_max(len(_LOUDNESS) - 2)
    part = (level - below).unsqueeze(-1)
    pixels = (colours[below] * (1 - part) + colours[below + 1] * part).round().byte()
    return to_png(pixels.permute(2, 0, 1))


def waveform_features(samples: Float[Tensor, " samples"], rate: int) -> Float[Tensor, "bands frames"]:
    """Log energies of a sound for a model that reads samples: a spectrum each 10 ms, of 25 ms."""
    spectrum = torch.stft(
        samples,
        512,
        hop_length=rate // 100,
        win_length=rate // 40,
        window=torch.hann_window(rate // 40),
        return_complex=True,
    )
    return spectrum.abs().square().clamp_min(1e-10).log10()
