"""Batches of recordings: all of them once an epoch, none larger than told, and the same again after a stop."""

from collections import Counter

import torch

from regard.data.sound_augmentation import SoundAugmentation
from regard.data.speech_batches import Kept, SpeechBatches
from regard.models.tokens import END, PAD, START
from regard.nn.log_mel import LogMel

RATE = 8000
SECONDS = [0.5, 0.6, 1.0, 0.7, 2.0, 0.4, 1.5]
SOUNDS = [0.1 * torch.randn(round(seconds * RATE)) for seconds in SECONDS]
TARGETS = [[4 + number] * (number + 1) for number in range(len(SECONDS))]


def batches(augmentation: SoundAugmentation | None = None, **options) -> SpeechBatches:
    settings = {"front": LogMel(RATE, 10), "augmentation": augmentation, "batch": 2.5, "seed": 0, **options}
    return SpeechBatches(lambda item: SOUNDS[item], SECONDS, TARGETS, **settings)


def test_every_recording_once_and_no_batch_too_large() -> None:
    seen: Counter[int] = Counter()
    for batch in batches():
        assert batch.features.shape[0] * batch.features.shape[1] <= 250
        assert batch.features.shape[1] == int(batch.frames.max())
        seen.update(int(row[1]) for row in batch.target_in)
    assert seen == Counter(row[0] for row in TARGETS)


def test_features_and_targets_belong_together() -> None:
    front = LogMel(RATE, 10)
    for batch in batches():
        for row in range(len(batch.frames)):
            item, frames, length = int(batch.target_in[row, 1]) - 4, int(batch.frames[row]), int(batch.lengths[row])
            sound = (SOUNDS[item] * 32767).round() / 32767
            torch.testing.assert_close(batch.features[row, :frames], front(sound))
            assert (batch.features[row, frames:] == 0).all()
            assert batch.target_in[row, : length + 1].tolist() == [START, *TARGETS[item]]
            assert batch.target_out[row, : length + 1].tolist() == [*TARGETS[item], END]
            assert (batch.target_out[row, length + 1 :] == PAD).all()


def test_an_epoch_goes_on_where_it_stopped() -> None:
    whole = [batch.features for batch in batches(SoundAugmentation(noise=0.5))]
    again = batches(SoundAugmentation(noise=0.5))
    again.load_state_dict({"epoch": 0, "position": 2})
    rest = [batch.features for batch in again]
    assert len(rest) == len(whole) - 2
    for one, other in zip(rest, whole[2:], strict=True):
        assert torch.equal(one, other)


def test_another_epoch_changes_recordings_otherwise() -> None:
    both = batches(SoundAugmentation(noise=1.0), batch=100.0)
    first, second = next(iter(both)), next(iter(both))
    assert first.features.shape != second.features.shape or not torch.equal(first.features, second.features)


def test_sounds_are_read_once_while_there_is_room(monkeypatch) -> None:
    reads: list[int] = []

    def read(item: int) -> torch.Tensor:
        reads.append(item)
        return SOUNDS[item]

    monkeypatch.setattr("regard.data.speech_batches._KEPT", 2 * len(SOUNDS[0]))
    kept = Kept(read)
    for item in (0, 0, 1, 1):
        torch.testing.assert_close(kept(item), SOUNDS[item], rtol=0.0, atol=1e-4)
    assert reads == [0, 1, 1], "the second did not fit"
