"""The front end of speech models: sound as the energies of bands that are spaced as people hear."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_EMPHASIS = 0.97
_LEAST = torch.finfo(torch.float32).eps  # energy of a band, whose logarithm stays finite


class LogMel(nn.Module):
    """Log-mel filter banks, `log sum_f mel[band, f] |FFT(window * frame)|^2`, with the numbers of Kaldi's.

    A frame has its mean taken off, is pre-emphasised (`x[t] - 0.97 x[t - 1]`), and weighed by Povey's window
    (`hann^0.85`); bands are triangles of equal width in mel, `1127 ln(1 + f / 700)`, from 20 Hz to half the rate
    (Davis and Mermelstein 1980; Povey et al. 2011). Without Kaldi's dither. Sound within [-1, 1] is taken as 16 bits.

    Args:
        rate: samples a second.
        bands: of each frame.
        window, step: seconds of a frame, and from one to the next.
    """

    mel: Tensor
    taper: Tensor

    def __init__(self, rate: int = 16_000, bands: int = 80, *, window: float = 0.025, step: float = 0.010) -> None:
        super().__init__()
        self.rate, self.bands = rate, bands
        self.window, self.step = round(window * rate), round(step * rate)
        self.size = 1 << (self.window - 1).bit_length()  # of the FFT
        place = torch.arange(self.window, dtype=torch.float64)
        taper = (0.5 - 0.5 * torch.cos(2 * torch.pi * place / (self.window - 1))) ** 0.85
        self.register_buffer("taper", taper.float(), persistent=False)
        self.register_buffer("mel", _triangles(rate, self.size, bands).float(), persistent=False)

    def forward(self, sound: Float[Tensor, "*batch samples"]) -> Float[Tensor, "*batch frames bands"]:
        """Features of sounds of one length; none, where that is shorter than a frame."""
        if sound.shape[-1] < self.window:
            return sound.new_zeros(*sound.shape[:-1], 0, self.bands)
        frames = 32768.0 * sound.unfold(-1, self.window, self.step)
        frames = frames - frames.mean(-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), -1)
        frames = (frames - _EMPHASIS * before) * self.taper
        power = torch.fft.rfft(functional.pad(frames, (0, self.size - self.window))).abs().square()
        return (power[..., :-1] @ self.mel.T).clamp_min(_LEAST).log()


def _triangles(rate: int, size: int, bands: int) -> Float[Tensor, "bands bins"]:
    """How much of each bin of a spectrum, but the last, is in each band."""
    low, high = (_mel(torch.tensor(hertz, dtype=torch.float64)) for hertz in (20.0, rate / 2))
    edges = torch.linspace(float(low), float(high), bands + 2, dtype=torch.float64)
    bins = _mel(torch.arange(size // 2, dtype=torch.float64) * rate / size)
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return torch.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)).clamp_min(0.0)


def _mel(hertz: Tensor) -> Tensor:
    return 1127.0 * (1.0 + hertz / 700.0).log()
