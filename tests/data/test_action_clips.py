"""Clips for action recognition: windows in time, crops, mirroring, jitter, batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from film_files import numbered, numbers, write_film
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from avsa.config import Action, Views
from avsa.data.action import ActionBatch, DenseClips, RandomClips, centre_box, crop, network_input, random_box
from avsa.data.action_splits import ActionVideo
from avsa.data.dataset import Example, Failure
from avsa.data.films import Films
from avsa.data.loader import Loader
from avsa.data.views import PICTURE_MEAN, PICTURE_STD

PLAIN = Views(size=32, frames=4, jitter=(0, 0, 0, 0))
WHOLE = Action(area=(1.0, 1.0), mirror=0, centre=1.0, test_clips=3)
FPS = 8.0


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[ActionVideo]:
    """Square films of 50, 51 and 52 numbered frames, so that a crop may be all of the picture."""
    folder = tmp_path_factory.mktemp("films")
    return [ActionVideo(write_film(folder / f"{n}.avi", numbered(50 + n, 64, 64), 25), label=n % 2) for n in range(3)]


def randomly(videos: list[ActionVideo], action: Action = WHOLE, views: Views = PLAIN, seed: int = 0) -> RandomClips:
    return RandomClips(Films([video.path for video in videos]), videos, action, views, FPS, seed)


def batch_of(clips: RandomClips | DenseClips, *examples: Example) -> ActionBatch:
    batch = clips.__getitems__(list(examples))
    assert isinstance(batch, ActionBatch)
    return batch


def said(batch: ActionBatch) -> list[list[int]]:
    """Frame numbers of each clip."""
    return [numbers(video_CTHW.permute(1, 2, 3, 0).numpy()) for video_CTHW in batch.video_NCTHW]


def test_random_clips_begin_anywhere_and_keep_their_rate(videos: list[ActionVideo]) -> None:
    clips = randomly(videos)
    seen = said(batch_of(clips, *(Example(epoch, 0, 1) for epoch in range(60))))
    for clip in seen:
        assert [round((clip[0] + 0.0) + i * 25 / 8) for i in range(4)] == pytest.approx(clip, abs=1)
    first = [clip[0] for clip in seen]
    last_start = 50 - 3 * 25 / 8  # of 51 frames
    assert min(first) >= 0
    assert max(clip[-1] for clip in seen) <= 50
    assert min(first) < 0.1 * last_start
    assert max(first) > 0.9 * last_start
    assert len(set(first)) > 20


def test_a_clip_depends_on_seed_epoch_repeat_and_video_alone(videos: list[ActionVideo]) -> None:
    action, views = WHOLE.model_copy(update={"area": (0.3, 0.9), "mirror": 0.5}), Views(size=32, frames=4)
    key = Example(2, 1, 0)
    alone = batch_of(randomly(videos, action, views), key)
    among = batch_of(randomly(videos, action, views), Example(2, 1, 2), key)
    torch.testing.assert_close(alone.video_NCTHW[0], among.video_NCTHW[1], rtol=0, atol=0)
    torch.testing.assert_close(alone.jitter_N4[0], among.jitter_N4[1], rtol=0, atol=0)
    others = [Example(3, 1, 0), Example(2, 0, 0)]
    changed = [batch_of(randomly(videos, action, views), other) for other in others]
    changed.append(batch_of(randomly(videos, action, views, seed=1), key))
    assert all(bool((other.jitter_N4 != alone.jitter_N4).all()) for other in changed)


def test_labels_and_names(videos: list[ActionVideo]) -> None:
    batch = batch_of(randomly(videos), Example(0, 0, 2), Example(0, 0, 1))
    assert batch.label_N.tolist() == [0, 1]
    assert [name.rpartition("/")[2] for name in batch.ids] == ["2.avi", "1.avi"]


def test_dense_clips_are_evenly_spaced_from_the_first_frame_to_the_last(videos: list[ActionVideo]) -> None:
    clips = DenseClips(Films([video.path for video in videos]), videos, WHOLE, PLAIN, FPS)
    batch = batch_of(clips, Example(0, 0, 0), Example(0, 0, 2))
    seen = said(batch)
    assert seen[0] == [0, 3, 6, 9]
    assert seen[2][-1] == 49
    assert seen[5][-1] == 51
    middle = (49 - 3 * 25 / 8) / 2
    assert seen[1][0] == pytest.approx(middle, abs=0.51)
    assert batch.label_N.tolist() == [0] * 6
    assert batch.jitter_N4.tolist() == [[1, 1, 1, 0]] * 6


def test_one_test_clip_is_the_middle_one(videos: list[ActionVideo]) -> None:
    action = WHOLE.model_copy(update={"test_clips": 1})
    clips = DenseClips(Films([videos[0].path]), videos[:1], action, PLAIN, FPS)
    (seen,) = said(batch_of(clips, Example(0, 0, 0)))
    assert seen[0] + seen[-1] == pytest.approx(49, abs=1)


@pytest.mark.parametrize("mirror", [0.0, 0.3, 1.0])
def test_mirrored_clips_are_flipped_left_to_right(videos: list[ActionVideo], mirror: float) -> None:
    count = 80
    examples = [Example(epoch, 0, 1) for epoch in range(count)]
    films = Films([video.path for video in videos])
    assert films.keep(1.0)
    straight = batch_of(RandomClips(films, videos, WHOLE, PLAIN, FPS, 0), *examples).video_NCTHW
    mirroring = WHOLE.model_copy(update={"mirror": mirror})
    drawn = batch_of(RandomClips(films, videos, mirroring, PLAIN, FPS, 0), *examples).video_NCTHW
    flipped = [bool((a.flip(-1) == b).all()) for a, b in zip(straight, drawn, strict=True)]
    same = [bool((a == b).all()) for a, b in zip(straight, drawn, strict=True)]
    assert all(f or s for f, s in zip(flipped, same, strict=True))
    assert sum(flipped) == pytest.approx(mirror * count, abs=3.3 * (mirror * (1 - mirror) * count) ** 0.5)


def test_crop_equals_torchvision(videos: list[ActionVideo]) -> None:
    frames_THWC = torch.randint(0, 256, (3, 60, 80, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for box in ((5, 10, 50, 40), (0, 0, 60, 80), (7, 3, 20, 20)):
        got_CTHW = crop(frames_THWC, box, 32)
        video_TCHW = frames_THWC.permute(0, 3, 1, 2).float()
        expected_TCHW = reference.resized_crop(video_TCHW, *box, [32, 32], antialias=True)
        assert (got_CTHW.transpose(0, 1).float() - expected_TCHW).abs().max() <= 0.51


def test_random_boxes_keep_to_their_area_and_shape() -> None:
    rng = np.random.default_rng(0)
    height, width = 240, 320
    boxes = np.array([random_box(rng, height, width, (0.25, 0.5)) for _ in range(2000)])
    top, left, h, w = boxes.T
    assert min(top.min(), left.min()) == 0
    assert (top + h).max() == height
    assert (left + w).max() == width
    share = h * w / (height * width)
    assert share.min() == pytest.approx(0.25, abs=0.01)
    assert share.max() == pytest.approx(0.5, abs=0.01)
    assert share.mean() == pytest.approx(0.375, abs=0.01)
    assert (w / h).min() == pytest.approx(3 / 4, abs=0.03)
    assert (w / h).max() == pytest.approx(4 / 3, abs=0.03)
    assert np.log(w / h).mean() == pytest.approx(0, abs=0.02)


def test_a_box_that_does_not_fit_becomes_the_middle() -> None:
    assert random_box(np.random.default_rng(0), 10, 1000, (1.0, 1.0)) == (0, 495, 10, 10)
    assert centre_box(240, 320, 0.875) == (15, 55, 210, 210)
    assert centre_box(240, 320, 1.0) == (0, 40, 240, 240)


def test_network_input_is_jittered_like_torchvision_and_normalised() -> None:
    generator = torch.Generator().manual_seed(0)
    video_NCTHW = torch.randint(0, 256, (2, 3, 2, 6, 6), dtype=torch.uint8, generator=generator)
    jitter = torch.tensor([[1.3, 0.8, 1.2, 0.1], [0.7, 1.2, 0.6, -0.2]])
    batch = ActionBatch(video_NCTHW, jitter, torch.zeros(2), ["a", "b"])
    with torch.autocast("cpu", torch.bfloat16):
        got = network_input(batch)
    assert got.dtype == torch.float32
    mean, std = (torch.tensor(values)[:, None, None] for values in (PICTURE_MEAN, PICTURE_STD))
    for n, (brightness, contrast, saturation, hue) in enumerate(jitter.tolist()):
        for t in range(2):
            image: Tensor = video_NCTHW[n, :, t].float() / 255
            image = reference.adjust_brightness(image, brightness)
            image = reference.adjust_contrast(image, contrast)
            image = reference.adjust_saturation(image, saturation)
            image = reference.adjust_hue(image, hue)
            torch.testing.assert_close(got[n, :, t], (image - mean) / std, rtol=0, atol=2e-3)


def test_jitter_is_drawn_within_its_range(videos: list[ActionVideo]) -> None:
    views = Views(size=8, frames=1, jitter=(0.4, 1.5, 0.2, 0.1))
    jitter_N4 = batch_of(randomly(videos[:1], views=views), *(Example(e, 0, 0) for e in range(300))).jitter_N4
    low, high = torch.tensor([0.6, 0.0, 0.8, -0.1]), torch.tensor([1.4, 2.5, 1.2, 0.1])
    assert bool((jitter_N4 >= low - 1e-6).all() & (jitter_N4 <= high + 1e-6).all())
    assert bool((jitter_N4.amin(0) < low + 0.03 * (high - low)).all())
    assert bool((jitter_N4.amax(0) > high - 0.03 * (high - low)).all())


def test_batches_are_the_same_for_any_number_of_workers(videos: list[ActionVideo]) -> None:
    def epoch(workers: int) -> list[ActionBatch]:
        loader: Loader[ActionBatch] = Loader(
            randomly(videos, views=Views(size=16, frames=4)), [0, 1, 2], "here", batch=2, repeats=2, workers=workers
        )
        return list(loader.epoch(1))

    here, there = epoch(0), epoch(2)
    assert len(here) == 2
    for one, other in zip(here, there, strict=True):
        assert one.ids == other.ids
        torch.testing.assert_close(one.video_NCTHW, other.video_NCTHW, rtol=0, atol=0)
        torch.testing.assert_close(one.jitter_N4, other.jitter_N4, rtol=0, atol=0)


def test_a_damaged_video_is_named(videos: list[ActionVideo], tmp_path: Path) -> None:
    damaged = ActionVideo(tmp_path / "damaged.avi", 0)
    damaged.path.write_bytes(videos[0].path.read_bytes()[:2000])
    for clips in (
        randomly([damaged]),
        DenseClips(Films([damaged.path]), [damaged], WHOLE, PLAIN, FPS),
    ):
        failure = clips.__getitems__([Example(0, 0, 0)])
        assert isinstance(failure, Failure)
        assert str(damaged.path) in failure.message
