"""Changes of recordings: what they may do, and that chance alone decides them."""

from random import Random

import pytest
import torch

from regard.data.sound_augmentation import SoundAugmentation

RATE = 8000
NOTHING = {"speed": [1.0], "noise": 0.0, "bands": 0, "gaps": 0}
TONE = torch.sin(2 * torch.pi * 400 * torch.arange(RATE) / RATE)


def test_nothing_is_nothing() -> None:
    augmentation, features = SoundAugmentation(**NOTHING), torch.randn(30, 10)
    assert torch.equal(augmentation.of_sound(TONE, RATE, Random(0)), TONE)
    assert torch.equal(augmentation.of_features(features, Random(0)), features)


@pytest.mark.parametrize("speed", [0.8, 1.25])
def test_speed_changes_length_and_pitch(speed: float) -> None:
    augmentation = SoundAugmentation(**NOTHING | {"speed": [speed]})
    found = augmentation.of_sound(TONE, RATE, Random(0))
    assert len(found) == pytest.approx(RATE / speed, abs=2)
    loudest = int(torch.fft.rfft(found).abs().argmax()) * RATE / len(found)
    assert loudest == pytest.approx(400 * speed, abs=2)
    assert augmentation.stretch == 1 / speed


def test_noise_is_as_loud_as_it_says() -> None:
    augmentation = SoundAugmentation(**NOTHING | {"noise": 1.0})
    for seed in range(20):
        noise = augmentation.of_sound(TONE, RATE, Random(seed)) - TONE
        decibels = 10 * float((TONE.square().mean() / noise.square().mean()).log10())
        assert 4.9 <= decibels <= 30.1


def test_what_is_left_out_is_the_mean_and_no_more_than_allowed() -> None:
    augmentation = SoundAugmentation(speed=[1.0], bands=1, widest=0.3, gaps=1, longest=0.2)
    features = torch.randn(50, 20)
    seen = set()
    for seed in range(40):
        found = augmentation.of_features(features, Random(seed))
        changed = found != features
        assert (found[changed] == features.mean()).all()
        columns, rows = int(changed.all(0).sum()), int(changed.all(1).sum())
        assert columns <= 6
        assert rows <= 10
        seen.add((columns, rows))
    assert len(seen) > 10


def test_chance_alone_decides() -> None:
    augmentation = SoundAugmentation(noise=0.5)
    first, second = (augmentation.of_sound(TONE, RATE, Random(3)) for _ in range(2))
    assert torch.equal(first, second)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"speed": []}, r"speed is a list of factors from 0\.5 to 2, such as \[0\.9, 1\.0, 1\.1\]; got \[\]"),
        ({"speed": [3.0]}, "speed is a list of factors"),
        ({"noise": 2.0}, "noise is a share, from 0 to 1; got 2"),
        ({"gaps": -1}, "gaps is 0 or more; got -1"),
    ],
)
def test_options_out_of_range(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SoundAugmentation(**options)
