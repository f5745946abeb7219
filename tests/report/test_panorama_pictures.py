"""Contact sheets and power-map videos show things where they are."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from avsa.acquire.synth.media import write_audio, write_video
from avsa.ambisonics.foa import encode, from_acn_sn3d
from avsa.errors import UserError
from avsa.report.contact import COLUMNS, LINE, MARGIN, WIDTH, contact_sheet, label_colour
from avsa.report.power_video import overlay, power_map_video

RATE = 8000
AZIMUTH, ELEVATION = 1.2, 0.4
SOUND = encode(np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1, AZIMUTH, ELEVATION)


def brightest(image: np.ndarray) -> tuple[float, float]:
    """Azimuth and elevation of the brightest spot."""
    height, width = image.shape[:2]
    grey = image.astype(float).sum(-1)
    rows, columns = np.nonzero(grey > 0.97 * grey.max())
    return np.pi * (1 - 2 * (columns.mean() + 0.5) / width), np.pi / 2 * (1 - 2 * (rows.mean() + 0.5) / height)


def test_overlay_is_hottest_at_the_source() -> None:
    image = overlay(np.zeros((180, 360, 3), np.uint8), SOUND, floor=0.0)
    assert brightest(image) == pytest.approx((AZIMUTH, ELEVATION), abs=0.06)


def test_overlay_fades_with_the_sound() -> None:
    image = np.full((90, 180, 3), 77, np.uint8)
    power = float(np.mean(SOUND[0] ** 2))
    np.testing.assert_array_equal(overlay(image, SOUND * np.float32(0), floor=power), image)
    loud, faint = (overlay(image, SOUND * np.float32(g), floor=power).astype(float) - 77 for g in (1, 0.3))
    assert 0 < np.abs(faint).sum() < 0.2 * np.abs(loud).sum()


def test_power_map_video_of_files(tmp_path: Path) -> None:
    write_video(tmp_path / "dark.mp4", np.zeros((8, 64, 128, 3), np.uint8), 8)
    write_audio(tmp_path / "dark.m4a", SOUND, RATE)
    power_map_video(tmp_path / "dark.mp4", tmp_path / "dark.m4a", tmp_path / "map.mp4", sample_rate=RATE)
    with av.open(str(tmp_path / "map.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 15
    assert brightest(images[7]) == pytest.approx((AZIMUTH, ELEVATION), abs=0.1)
    with av.open(str(tmp_path / "map.mp4")) as container:
        left, right = np.concatenate([f.to_ndarray() for f in container.decode(audio=0)], axis=1)
    assert np.mean(left**2) > 5 * np.mean(right**2)  # the source is on the left


def test_power_map_of_another_channel_order(tmp_path: Path) -> None:
    write_video(tmp_path / "dark.mp4", np.zeros((8, 64, 128, 3), np.uint8), 8)
    write_audio(tmp_path / "dark.m4a", from_acn_sn3d(SOUND, "fuma"), RATE)
    power_map_video(tmp_path / "dark.mp4", tmp_path / "dark.m4a", tmp_path / "map.mp4", "fuma", sample_rate=RATE)
    with av.open(str(tmp_path / "map.mp4")) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert brightest(images[7]) == pytest.approx((AZIMUTH, ELEVATION), abs=0.1)
    with pytest.raises(UserError, match=r"dark\.m4a: channel order youtube-aac6 has 6 channels, the sound has 4"):
        power_map_video(tmp_path / "dark.mp4", tmp_path / "dark.m4a", tmp_path / "map.mp4", "youtube-aac6")


def test_power_map_needs_four_channels_and_files(tmp_path: Path) -> None:
    write_video(tmp_path / "dark.mp4", np.zeros((8, 64, 128, 3), np.uint8), 8)
    with pytest.raises(UserError, match="no audio"):
        power_map_video(tmp_path / "dark.mp4", tmp_path / "dark.mp4", tmp_path / "map.mp4")
    assert not (tmp_path / "map.mp4").exists()


def test_contact_sheet_shows_frames_and_labels(tmp_path: Path) -> None:
    folder = tmp_path / "raw" / "train"
    folder.mkdir(parents=True)
    video = np.zeros((8, 64, 128, 3), np.uint8)
    video[4:] = (200, 30, 30)  # the frame at half time is red
    write_video(folder / "a.mp4", video, 8)
    labels = np.zeros((4, 64, 128), np.uint8)
    labels[2] = 3
    Image.fromarray(labels.reshape(-1, 128)).save(folder / "a.segm.png")
    source = {"class": "bell", "azimuth": [0.0] * 4, "elevation": [0.0] * 4, "radius": 0.2, "sounding": True}
    truth = {"label_fps": 4, "time_s": [0, 0.25, 0.5, 0.75], "objects": [source]}
    (folder / "a.json").write_text(json.dumps(truth))
    (tmp_path / "raw" / "classes.json").write_text(json.dumps({"things": ["drum", "bell"], "stuff": ["sky", "sea"]}))
    contact_sheet(tmp_path / "raw", tmp_path / "sheet.png")
    sheet = np.asarray(Image.open(tmp_path / "sheet.png")).astype(int)
    assert sheet.shape[1] == COLUMNS * (WIDTH + MARGIN) + MARGIN
    top = MARGIN + LINE
    assert np.abs(sheet[top + 30, MARGIN + 30] - (200, 30, 30)).max() < 12
    assert tuple(sheet[top + WIDTH // 2 + 2 + 30, MARGIN + 30]) == label_colour(3, things=2)
    ring = sheet[top + WIDTH // 4, MARGIN + WIDTH // 2 : MARGIN + WIDTH // 2 + 40].min(-1)
    assert ring.max() == 255  # white, around straight ahead
    assert abs(int(ring.argmax()) - (0.2 / np.pi * WIDTH / 2 + 3)) < 4


def test_contact_sheet_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no video"):
        contact_sheet(tmp_path, tmp_path / "sheet.png")
