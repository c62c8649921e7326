"""Morse code that is keyed can be read again from the sound itself."""

from random import Random

import torch

from regard.tasks.morse import CODE, RATE, key


def test_no_two_characters_are_keyed_alike() -> None:
    assert len(set(CODE.values())) == len(CODE)
    assert all(set(marks) <= set(".-") for marks in CODE.values())


def test_a_transmission_is_the_same_for_the_same_chance() -> None:
    first, second = key(Random(5)), key(Random(5))
    assert first.text == second.text
    assert torch.equal(first.sound, second.sound)
    assert key(Random(6)).text != first.text


def test_each_character_has_its_time_and_its_sound() -> None:
    """Within a character's time the tone has more energy than between two of them, averaged over transmissions."""
    on, off = [], []
    for seed in range(10):
        keyed = key(Random(seed))
        assert len(keyed.times) == len(keyed.text.replace(" ", ""))
        assert all(start < end for start, end in keyed.times)
        for (_, end), (start, _) in zip(keyed.times, keyed.times[1:], strict=False):
            assert end < start, "one after the other"
            off.append(float(keyed.sound[round((end + 0.01) * RATE) : round(start * RATE)].square().mean()))
        on += [float(keyed.sound[round(a * RATE) : round(b * RATE)].square().mean()) for a, b in keyed.times]
        assert float(keyed.sound.abs().max()) <= 0.5
        assert keyed.times[-1][1] < len(keyed.sound) / RATE
    assert sum(on) / len(on) > 1.5 * sum(off) / len(off)


def test_a_transmission_has_so_many_words() -> None:
    assert [len(key(Random(seed), words=3).text.split()) for seed in range(5)] == [3] * 5
