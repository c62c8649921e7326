"""What is said of drawn scenes is true."""

from random import Random

import pytest

from regard.tasks.phrases import captions
from regard.tasks.scenes import COLOURS, SHAPES, draw


@pytest.mark.parametrize("seed", range(30))
def test_captions_name_things_that_are_there(seed):
    drawn = draw(Random(seed), side=64, most=2)
    there = {(thing.colour, thing.shape) for thing in drawn.things}
    for caption in captions(drawn, Random(seed)):
        words = caption.replace(".", "").split()
        named = {(words[place - 1], word) for place, word in enumerate(words) if word in SHAPES}
        assert named <= there
        assert all(colour in COLOURS for colour, _ in named)
        assert bool(named) == bool(there)


def test_relations_are_as_things_lie():
    checked = 0
    for seed in range(200):
        drawn = draw(Random(seed), side=64, most=2)
        if len(drawn.things) != 2 or len({(one.colour, one.shape) for one in drawn.things}) != 2:
            continue
        place = {(one.colour, one.shape): one for one in drawn.things}
        for caption in captions(drawn, Random(seed)):
            words = caption.split()
            named = [place[words[n - 1], word] for n, word in enumerate(words) if word in SHAPES]
            if "left of" in caption:
                assert named[0].column < named[1].column
            if "right of" in caption:
                assert named[0].column > named[1].column
            if "above" in caption:
                assert named[0].row < named[1].row
            if "below" in caption:
                assert named[0].row > named[1].row
            checked += " of " in caption or "above" in caption or "below" in caption
    assert checked > 50
