"""Log-mel features are Kaldi's, number by number."""

import numpy
import pytest
import torch

from regard.nn.log_mel import LogMel


@pytest.mark.parametrize(("rate", "bands"), [(16_000, 80), (8_000, 40), (44_100, 23)])
def test_the_numbers_are_kaldi_s(rate: int, bands: int) -> None:
    import kaldi_native_fbank as kaldi

    sound = 0.1 * torch.randn(rate // 2) + 0.05
    options = kaldi.FbankOptions()
    options.frame_opts.dither, options.frame_opts.samp_freq, options.mel_opts.num_bins = 0.0, rate, bands
    bank = kaldi.OnlineFbank(options)
    bank.accept_waveform(rate, (32768.0 * sound).tolist())
    bank.input_finished()
    expected = torch.from_numpy(numpy.stack([bank.get_frame(place) for place in range(bank.num_frames_ready)]))
    torch.testing.assert_close(LogMel(rate, bands)(sound), expected, rtol=1e-4, atol=2e-3)


def test_whole_frames_and_nothing_else() -> None:
    front = LogMel(16_000, 8)
    for samples, frames in ((0, 0), (399, 0), (400, 1), (559, 1), (560, 2)):
        assert front(torch.randn(samples)).shape == (frames, 8)


def test_silence_is_finite() -> None:
    assert LogMel()(torch.zeros(1600)).isfinite().all()


def test_a_batch_is_its_rows() -> None:
    front, sounds = LogMel(8_000, 20), torch.randn(3, 4000)
    torch.testing.assert_close(front(sounds)[1], front(sounds[1]))
