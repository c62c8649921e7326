"""Drawn scenes: what is said of them is what they show."""

from random import Random

import pytest
import torch

from regard.tasks.scenes import SHAPES, Thing, _inside, draw


@pytest.mark.parametrize("seed", range(20))
def test_boxes_are_around_what_can_be_seen(seed):
    drawn = draw(Random(seed), side=64)
    scene = drawn.scene
    assert scene.picture.shape == (3, 64, 64)
    assert len(drawn.things) == len(scene.boxes) == len(scene.labels)
    for box, label, thing in zip(scene.boxes.int().tolist(), scene.labels.tolist(), drawn.things, strict=True):
        left, top, right, bottom = box
        assert 0 <= left < right <= 64
        assert 0 <= top < bottom <= 64
        assert SHAPES[label] == thing.shape
        part = scene.mask[top:bottom, left:right] == label + 1
        assert part.any(0)[[0, -1]].all()
        assert part.any(1)[[0, -1]].all()
    assert str(drawn) == ", ".join(map(str, drawn.things)) or str(drawn) == "nothing"


def test_a_scene_is_a_function_of_its_chance():
    one, other, third = (draw(Random(seed)) for seed in (4, 4, 5))
    assert torch.equal(one.scene.picture, other.scene.picture)
    assert one.things == other.things
    assert not torch.equal(one.scene.picture, third.scene.picture)


def test_every_kind_of_thing_occurs():
    things = [thing for seed in range(150) for thing in draw(Random(seed), side=48).things]
    for name, count in (("shape", 5), ("colour", 8), ("texture", 4), ("size", 3)):
        assert len({getattr(thing, name) for thing in things}) == count


def test_things_stand_upright():
    """The first corner of a triangle and of a star is at the top, but for a lean."""
    things = [thing for seed in range(150) for thing in draw(Random(seed), side=48).things]
    pointed = [thing for thing in things if thing.shape in ("triangle", "star")]
    assert len(pointed) > 20
    for thing in pointed:
        assert thing.row - thing.outline()[0][1] > 0.95 * thing.radius


@pytest.mark.parametrize(
    ("shape", "share"),
    # The areas of the shapes as shares of the circle's around them.
    [("circle", 1.0), ("square", 0.6366), ("triangle", 0.4135), ("star", 0.3929), ("cross", 0.6366)],
)
def test_shapes_have_their_areas(shape, share):
    thing = Thing(
        shape=shape, colour="red", texture="plain", size="large", row=100.0, column=100.0, radius=90.0, angle=0.4
    )
    area = float(_inside(thing, 200).sum()) / (3.14159265 * 90.0**2)
    assert area == pytest.approx(share, rel=0.04)
    assert str(thing) == f"large red {shape}"
