"""Long recordings are heard whole, and cut where nobody speaks."""

from itertools import pairwise

import torch

from regard.tasks.speech.parts import cut_at_pauses, heard_in_windows


def test_windows_give_each_position_once_and_from_its_middle() -> None:
    """What is heard of a frame is the frame itself, and how far it is from the edges of its window."""
    features = torch.arange(403.0).view(-1, 1)

    def hear(part: torch.Tensor) -> torch.Tensor:
        assert len(part) <= 100
        place = torch.arange(0, len(part), 4)
        edge = torch.minimum(place, len(part) - 1 - place)
        return torch.stack((part[::4, 0], edge.float()), 1)

    found = heard_in_windows(features, hear, window=100, overlap=24, shrinks=4)
    assert found[:, 0].tolist() == list(range(0, 403, 4))
    inner = found[(found[:, 0] > 12) & (found[:, 0] < 390), 1]
    assert float(inner.min()) >= 11 - 4


def test_what_is_short_is_heard_at_once() -> None:
    features = torch.randn(60, 2)
    assert torch.equal(heard_in_windows(features, lambda part: part, window=100, overlap=24, shrinks=1), features)


def test_cuts_lie_in_silences() -> None:
    silent = torch.zeros(300, dtype=torch.bool)
    for start, end in ((40, 44), (70, 90), (130, 133), (180, 186), (260, 270)):
        silent[start:end] = True
    parts = cut_at_pauses(silent, 100)
    assert parts[0] == (0, 80)
    assert all(end - start <= 100 for start, end in parts)
    assert all(one[1] == other[0] for one, other in pairwise(parts))
    assert parts[-1][1] == 300
    assert all(bool(silent[end]) for _, end in parts[:-1])


def test_without_silence_parts_are_as_long_as_they_may_be() -> None:
    assert cut_at_pauses(torch.zeros(250, dtype=torch.bool), 100) == [(0, 100), (100, 200), (200, 250)]
    assert cut_at_pauses(torch.ones(90, dtype=torch.bool), 100) == [(0, 90)]
    assert cut_at_pauses(torch.ones(150, dtype=torch.bool), 100) == [(0, 50), (50, 150)]
