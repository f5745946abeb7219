"""Scenes as data: what is drawn, and what it depends on."""

import math

import numpy as np

from avsa.acquire.synth.scene import GAP, SPLITS, draw_scene
from avsa.acquire.synth.things import THINGS
from avsa.config import Synth
from avsa.geometry.sphere import angular_distance

SYNTH = Synth(objects=(1, 4), distractors=(0, 2))


def test_a_scene_depends_on_its_split_and_number_only() -> None:
    more = SYNTH.model_copy(update={"train": 7, "val": 1, "test": 3})
    assert draw_scene(SYNTH, "test", 5) == draw_scene(more, "test", 5)


def test_splits_seeds_and_numbers_give_different_scenes() -> None:
    other_seed = SYNTH.model_copy(update={"seed": 1})
    scenes = [draw_scene(SYNTH, split, i) for split in SPLITS for i in range(50)]
    scenes += [draw_scene(other_seed, "train", i) for i in range(50)]
    assert len({scene.objects for scene in scenes}) == len(scenes)


def test_all_splits_share_the_places() -> None:
    synth = SYNTH.model_copy(update={"places": 6})
    seen = [{draw_scene(synth, split, i).place for i in range(60)} for split in SPLITS]
    assert all(places == set(range(6)) for places in seen)


def test_objects_are_what_the_configuration_says() -> None:
    scenes = [draw_scene(SYNTH, "train", i) for i in range(120)]
    counts = {sum(item.sounding for item in scene.objects) for scene in scenes}
    assert counts == {1, 2, 3, 4}
    assert {sum(not item.sounding for item in scene.objects) for scene in scenes} == {0, 1, 2}
    everything = [item for scene in scenes for item in scene.objects]
    assert {item.kind for item in everything} == set(range(len(THINGS)))
    assert {math.degrees(i.radius) // 1 for i in everything} == set(range(12, 20))
    for scene in scenes:
        assert len({item.kind for item in scene.objects}) == len(scene.objects)


def test_objects_keep_clear_of_each_other_and_of_the_poles() -> None:
    times = np.linspace(0, SYNTH.duration_s, 31)
    for i in range(60):
        objects = draw_scene(SYNTH, "val", i).objects
        for n, one in enumerate(objects):
            assert np.abs(one.direction(times)[1]).max() < math.radians(50.01)
            for other in objects[:n]:
                apart = angular_distance(*one.direction(times), *other.direction(times))
                assert float(apart.min()) > one.radius + other.radius + GAP / 2


def test_ambience_plays_in_its_share_of_the_scenes() -> None:
    synth = SYNTH.model_copy(update={"ambience_share": 0.3, "ambience_db": -4.0, "ambience_spread_db": 1.0})
    levels = [draw_scene(synth, "train", i).ambience_db for i in range(200)]
    heard = [level for level in levels if level is not None]
    assert 0.22 < len(heard) / len(levels) < 0.38
    assert -5 <= min(heard) < -4.8
    assert -3.2 < max(heard) <= -3
