import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from avsa.ambisonics.foa import mirror, turn_to
from avsa.clips.clip import Clip
from avsa.config import Views
from avsa.data.draw import ViewSampler, draw_windows, window_range
from avsa.data.sound import audio_samples, crop_rotation


def clip(frames: int, fps: float, sample_rate: int) -> Clip:
    return Clip(
        id="a", source="a.mp4", split="train", start_s=0, duration_s=frames / fps, width=64, height=32, fps=fps,
        frames=frames, sample_rate=sample_rate, shard="s", members={}, checks={},
    )  # fmt: skip


CASES = [
    (clip(160, 16, 24000), Views()),
    (clip(24, 8, 8000), Views(frames=4)),
    (clip(24, 8, 8000), Views(frames=20, audio_s=0.25)),  # more picture than sound
    (clip(50, 29.97, 22050), Views(frames=7, audio_s=0.733)),
    (clip(16, 16, 24000), Views()),  # just one window
]


@pytest.mark.parametrize(("clip", "views"), CASES)
def test_picture_and_sound_are_centred_on_one_time_inside_the_clip(clip: Clip, views: Views) -> None:
    samples = audio_samples(views, clip.sample_rate)
    seen = set()
    for epoch in range(1500):
        (window,) = draw_windows(clip, views, 1, 0, epoch, 0, 0)
        assert 0 <= window.first_frame <= clip.frames - views.frames
        assert 0 <= window.first_sample <= round(clip.duration_s * clip.sample_rate) - samples
        picture_centre = (window.first_frame + views.frames / 2) / clip.fps
        sound_centre = (window.first_sample + samples / 2) / clip.sample_rate
        assert abs(picture_centre - sound_centre) <= 0.51 / clip.sample_rate + 1e-3 / clip.fps
        seen.add(window.first_frame)
    first, last = window_range(clip, views)
    assert seen == set(range(first, last + 1))


def test_range_is_all_that_fits() -> None:
    """1 s of sound about 4 frames of 8 per second: ¼ s of sound before the picture, and after."""
    assert window_range(clip(24, 8, 8000), Views(frames=4)) == (2, 18)
    assert window_range(clip(160, 16, 24000), Views()) == (4, 148)
    first, last = window_range(clip(15, 16, 24000), Views())
    assert last < first


@pytest.mark.parametrize(
    ("frames", "moments", "apart"), [(160, 4, 8), (160, 2, 8), (24, 4, 4), (24, 8, 2), (24, 17, 1)]
)
def test_moments_keep_half_a_window_or_what_the_clip_permits(frames: int, moments: int, apart: int) -> None:
    views, long = (Views(), True) if frames == 160 else (Views(frames=4), False)
    of = clip(frames, 16 if long else 8, 8000)
    orders = set()
    for epoch in range(50):
        starts = [w.first_frame for w in draw_windows(of, views, moments, 0, epoch, 0, 0)]
        assert len(starts) == moments
        assert min(b - a for a, b in pairwise(sorted(starts))) >= apart
        orders.add(tuple(np.argsort(starts)))
    assert len(orders) > 1  # the first moment is not always the earliest


@pytest.mark.parametrize("which", range(4))
def test_windows_depend_on_every_part_of_the_key(which: int) -> None:
    key = [1, 2, 3, 4]
    other = list(key)
    other[which] += 1
    of, views = CASES[0]
    assert draw_windows(of, views, 3, *key) == draw_windows(of, views, 3, *key)
    assert draw_windows(of, views, 3, *key) != draw_windows(of, views, 3, *other)


def test_view_draws_keep_their_ranges_and_their_shares() -> None:
    views = Views(crops=3, mirror=0.25, jitter=(0.4, 1.5, 0.0, 0.2), gain_jitter=0.1, aspect=(0.5, 2.0))
    sample = ViewSampler(views)
    draws = [sample(0, 0, 0, clip, 0) for clip in range(1500)]
    jitter = torch.stack([d.jitter_K4 for d in draws]).flatten(0, 1)
    low, high = jitter.amin(0), jitter.amax(0)
    torch.testing.assert_close(low, torch.tensor([0.6, 0, 1, -0.2]), atol=0.003, rtol=0)
    torch.testing.assert_close(high, torch.tensor([1.4, 2.5, 1, 0.2]), atol=0.003, rtol=0)
    assert abs(torch.stack([d.mirror_K for d in draws]).float().mean() - 0.25) < 0.03
    gain = torch.stack([d.gain for d in draws])
    assert 0.9 <= gain.min() < 0.901
    assert 1.099 < gain.max() <= 1.1
    fov = torch.cat([d.viewpoints.fov_BK for d in draws])
    assert math.radians(25) <= fov.min() < fov.max() <= math.radians(90)
    # What is drawn for one crop says nothing about the next, nor one draw about another.
    columns = torch.stack(
        [torch.cat((d.jitter_K4[0, [0, 1, 3]], d.jitter_K4[1, [0, 1, 3]], d.gain[None])) for d in draws]
    )
    correlation = torch.corrcoef(columns.T) - torch.eye(7)
    assert correlation.abs().max() < 0.12


def test_a_draw_depends_on_its_key_alone() -> None:
    sample = ViewSampler(Views())
    first = sample(5, 0, 1, 7, 0)
    sample(5, 0, 1, 8, 0)
    torch.manual_seed(3)
    again = ViewSampler(Views())(5, 0, 1, 7, 0)
    assert torch.equal(first.viewpoints.azimuth_BK, again.viewpoints.azimuth_BK)
    assert torch.equal(first.jitter_K4, again.jitter_K4)
    for other in ((6, 0, 1, 7, 0), (5, 1, 1, 7, 0), (5, 0, 0, 7, 0), (5, 0, 1, 6, 0), (5, 0, 1, 7, 1)):
        assert not torch.equal(first.viewpoints.azimuth_BK, sample(*other).viewpoints.azimuth_BK)


def test_sound_of_a_mirrored_crop_is_mirrored_after_turning() -> None:
    azimuth, elevation = torch.tensor([0.7, 0.7]), torch.tensor([-0.4, -0.4])
    rotation = crop_rotation(azimuth, elevation, torch.tensor([False, True]))
    turn = turn_to(azimuth[0], elevation[0])
    torch.testing.assert_close(rotation, torch.stack((turn, mirror() @ turn)))
