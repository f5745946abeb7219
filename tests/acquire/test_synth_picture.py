"""The picture: things where the truth says, in their own shape, moving in step with their sound."""

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch
from PIL import Image

from avsa.acquire.synth.picture import CLASSES, draw
from avsa.acquire.synth.places import STUFF, build_place, frames, labels
from avsa.acquire.synth.scene import Scene, SceneObject, draw_scene
from avsa.acquire.synth.soundfield import voice
from avsa.acquire.synth.things import THINGS
from avsa.config import Synth
from avsa.geometry.crops import perspective
from avsa.geometry.sphere import direction_to_pixel

SYNTH = Synth(height=96, places=12)
HUES = (0.1, 0.45, 0.8)  # of sky, backdrop and ground
KINDS = range(len(THINGS))


def standing(kind: int, azimuth: float, elevation: float, radius: float = 0.3, phase: float = 0.2) -> SceneObject:
    """A thing that stays where it is."""
    return SceneObject(kind, True, radius, azimuth, 0.0, elevation, 0.0, 0.0, 0.0, 1.7, phase, 0.6, 0.0)


def with_objects(*objects: SceneObject) -> Scene:
    return replace(draw_scene(SYNTH, "train", 0), yaw=0.0, objects=objects)


def test_there_are_enough_classes() -> None:
    assert len(set(CLASSES["things"])) == len(THINGS) >= 10
    assert len(set(CLASSES["stuff"])) == len(STUFF) >= 5
    used = {int(n) for place in range(12) for n in np.unique(build_place(0, place, 96).labels_HW)}
    assert used == set(range(len(STUFF)))


@pytest.mark.parametrize("height", [64, 112, 128])
def test_label_at_the_true_direction_is_the_class(height: int) -> None:
    times = np.arange(0, 3, 0.25)
    seen = set()
    for index in range(25):
        scene = draw_scene(SYNTH, "test", index)
        _, labels_THW = draw(scene, build_place(0, scene.place, height), height, times)
        for item in scene.objects:
            u, v = direction_to_pixel(*item.direction(times), height, 2 * height)
            columns, rows = np.round(u.numpy()).astype(int) % (2 * height), np.round(v.numpy()).astype(int)
            assert (labels_THW[np.arange(len(times)), rows, columns] == item.kind).all(), THINGS[item.kind].name
            seen.add(item.kind)
    assert seen == set(KINDS)


def crop(labels_HW: npt.NDArray[np.uint8], azimuth: float, elevation: float) -> npt.NDArray[np.uint8]:
    """A perspective view of a label map."""
    phi, theta, fov = (torch.tensor([a], dtype=torch.float64) for a in (azimuth, elevation, math.radians(50)))
    video_KTCHW = perspective(torch.from_numpy(labels_HW)[None, None], phi, theta, fov, 64, mode="nearest")
    view: npt.NDArray[np.uint8] = video_KTCHW[0, 0, 0].numpy()
    return view


@pytest.mark.parametrize("kind", KINDS)
def test_shape_is_the_same_everywhere_on_the_sphere(kind: int) -> None:
    # In perspective crops towards it: on the horizon, across the seam, and where its window holds a pole.
    height, shapes = 192, []
    for azimuth, elevation in ((0.0, 0.0), (math.pi, -0.3), (1.0, 1.1), (-2.0, -1.45)):
        scene = with_objects(standing(kind, azimuth, elevation))
        _, labels_THW = draw(scene, build_place(0, 0, height), height, np.zeros(1))
        shapes.append(crop(labels_THW[0], azimuth, elevation) == kind)
    assert shapes[0].mean() > 0.1
    for shape in shapes[1:]:
        assert (shape & shapes[0]).sum() / (shape | shapes[0]).sum() > 0.88


def test_size_is_the_angle_that_it_says() -> None:
    # A siren is a disc of 0.95 radii.
    height, radius = 256, 0.3
    kind = CLASSES["things"].index("siren")
    _, labels_THW = draw(with_objects(standing(kind, 0.0, 0.0, radius)), build_place(0, 0, height), height, np.zeros(1))
    rows = (labels_THW[0] == kind).any(1).sum()
    assert rows * math.pi / height == pytest.approx(2 * math.atan(0.95 * math.tan(radius)), abs=1.5 * math.pi / height)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loud_glows(kind: int) -> None:
    """The loudness of the voice around each frame goes with the light of the thing in that frame."""
    fps, rate, duration = 16, 8000, 3.0
    item = replace(standing(kind, 0.5, 0.1), beat_hz=float(np.mean(THINGS[kind].rate_hz)))
    times = np.arange(1, fps * duration - 1) / fps
    video_THWC, labels_THW = draw(with_objects(item), build_place(0, 3, 96), 96, times)
    light = np.array([v[m == kind].mean() for v, m in zip(video_THWC, labels_THW, strict=True)])
    sound = voice(item, rate, round(duration * rate), np.random.default_rng(0))
    middles = np.round(times * rate).astype(int)
    loudness = np.array([np.sqrt(np.mean(sound[m - 100 : m + 100] ** 2)) for m in middles])
    assert np.corrcoef(light, loudness)[0, 1] > 0.8
    shuffled = np.corrcoef(np.roll(light, round(fps / item.beat_hz / 4)), loudness)[0, 1]
    assert shuffled < 0.7  # a quarter beat late is seen


@pytest.mark.parametrize("kind", KINDS)
def test_things_move_within_half_a_second(kind: int) -> None:
    times = np.arange(5) / 8
    video_THWC, _ = draw(with_objects(standing(kind, 0.0, 0.0)), build_place(0, 0, 96), 96, times)
    window = video_THWC[:, 40:56, 88:104].astype(float)
    assert np.abs(np.diff(window, axis=0)).mean() > 5


def test_classes_keep_their_shape_whatever_their_colour() -> None:
    one, other = (replace(standing(3, 0.0, 0.0), hue=hue) for hue in (0.1, 0.6))
    place = build_place(0, 0, 96)
    (video, shape), (other_video, other_shape) = (draw(with_objects(o), place, 96, np.zeros(1)) for o in (one, other))
    np.testing.assert_array_equal(shape, other_shape)
    assert np.abs(video.astype(float) - other_video)[shape == 3].mean() > 30


def test_surroundings_are_the_places_and_turn_with_the_yaw() -> None:
    place, times = build_place(0, 4, 96), np.array([0.0, 1.0])
    seen = frames(place, times, 0.0, HUES)
    turned = frames(place, times, math.pi / 2, HUES)
    np.testing.assert_array_equal(np.roll(seen, -48, axis=2), turned)
    np.testing.assert_array_equal(np.roll(labels(place, 0.0), -48, axis=1), labels(place, math.pi / 2))
    assert not np.array_equal(seen[0], seen[1])  # the sky drifts
    assert np.abs(seen.astype(float) - frames(build_place(0, 5, 96), times, 0.0, HUES)).mean() > 10


def test_stuff_has_the_hue_of_its_scene_whatever_its_class() -> None:
    for number in range(12):
        place = build_place(0, number, 96)
        colours_HWC = frames(place, np.zeros(1), 0.0, HUES)[0]
        hue_HW = np.asarray(Image.fromarray(colours_HWC).convert("HSV"))[..., 0] / 255
        for layer, hue in zip(place.layers, HUES, strict=True):
            away = (hue_HW[layer.region_HW] - hue + 0.5) % 1 - 0.5
            assert np.abs(away).max() < 0.03, (layer.stuff, hue)  # 8 bits of a dim colour


def test_stuff_that_does_not_move_stays() -> None:
    place = build_place(0, CLASSES["stuff"].index("wall"), 96)
    still = np.isin(place.labels_HW, [STUFF.index(s) for s in ("wall", "rock", "sand", "paving")])
    seen = frames(place, np.array([0.0, 1.3]), 0.0, HUES)
    np.testing.assert_array_equal(seen[0][still], seen[1][still])
    assert still.any()
