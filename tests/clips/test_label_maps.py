"""Label maps in one file: what goes in comes out, for an independent reader too, and as from the stack of old."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from clips_media import Array, write_recording
from PIL import Image

from avsa.clips.ingest import ingest
from avsa.clips.label_maps import count_maps, decode_map, join_maps, read_map
from avsa.clips.store import ClipStore
from avsa.config import Clips
from avsa.data.labels import label_map


def random_maps(count: int, height: int = 12, seed: int = 0) -> Array:
    maps = np.random.default_rng(seed).integers(0, 256, (count, height, 2 * height))
    return maps.astype(np.uint8)


def test_an_independent_reader_sees_the_same() -> None:
    maps_THW = random_maps(5)
    maps_THW[3] = maps_THW[2]  # equal neighbours stay two maps
    png = join_maps(maps_THW, 4.0)
    image = Image.open(io.BytesIO(png))
    assert getattr(image, "n_frames") == count_maps(png) == 5  # noqa: B009
    for index, map_HW in enumerate(maps_THW):
        image.seek(index)
        assert image.info["duration"] == 250
        np.testing.assert_array_equal(np.asarray(image.convert("L")), map_HW)
        np.testing.assert_array_equal(read_map(png, index), map_HW)


def test_only_the_map_that_is_asked_for_is_decoded() -> None:
    maps_THW = random_maps(6)
    png = bytearray(join_maps(maps_THW, 4.0))
    at = png.index(b"fdAT")  # map 1
    png[at + 20 : at + 60] = bytes(40)
    np.testing.assert_array_equal(read_map(bytes(png), 5), maps_THW[5])
    with pytest.raises(ValueError, match="cannot be read"):
        read_map(bytes(png), 1)


@pytest.mark.parametrize("png", [b"", b"nothing", b"\x89PNG\r\n\x1a\n", b"\x89PNG\r\n\x1a\n" + bytes(40)])
def test_what_is_no_file_of_maps(png: bytes) -> None:
    with pytest.raises(ValueError, match="label maps cannot be read"):
        count_maps(png)
    with pytest.raises(ValueError, match="label maps cannot be read"):
        read_map(png, 0)


def test_maps_that_cannot_be_joined_or_are_not_there() -> None:
    with pytest.raises(ValueError, match="different sizes"):
        join_maps([*random_maps(1), *random_maps(1, height=8)], 4.0)
    with pytest.raises(ValueError, match="no label maps"):
        join_maps([], 4.0)
    png = join_maps(random_maps(2), 4.0)
    with pytest.raises(ValueError, match="no map 2"):
        read_map(png, 2)
    with pytest.raises(ValueError, match="label maps cannot be read"):
        read_map(png[: len(png) // 2], 1)
    single = io.BytesIO()
    Image.fromarray(random_maps(1)[0]).save(single, format="png")
    with pytest.raises(ValueError, match="not an animated PNG"):
        count_maps(single.getvalue())


def test_grey_in_three_colours() -> None:
    grey_HW = random_maps(1)[0]
    for pixels, fits in ((np.repeat(grey_HW[..., None], 3, 2), True), (random_maps(3).transpose(1, 2, 0), False)):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format="png")
        if fits:
            np.testing.assert_array_equal(decode_map(buffer.getvalue()), grey_HW)
        else:
            with pytest.raises(ValueError, match="not a grey 8-bit picture"):
                decode_map(buffer.getvalue())


def from_stack(stack_HW: Array, fps: float, time_s: float) -> Array:
    """The map nearest to a time in a recording's picture of all maps, which is decoded whole."""
    maps_THW = stack_HW.reshape(-1, stack_HW.shape[1] // 2, stack_HW.shape[1])
    distance_T = np.abs(np.arange(len(maps_THW)) / fps - time_s)
    nearest: Array = maps_THW[int(np.argmax(distance_T <= distance_T.min() + 1e-6))]
    return nearest


@pytest.mark.parametrize("fps", [4.0, 3.0])
def test_a_clips_maps_are_those_of_the_stack(tmp_path: Path, fps: float) -> None:
    maps_THW = random_maps(round(4 * fps))
    write_recording(tmp_path / "raw", "a", 4.0, truth={"label_fps": fps})
    Image.fromarray(maps_THW.reshape(-1, 24)).save(tmp_path / "raw/a.segm.png")
    ingest(tmp_path / "raw", tmp_path / "out", Clips(clip_s=2, height=64, channel_order="acn-sn3d"), jobs=1)
    store = ClipStore(tmp_path / "out")
    assert len(store) == 2
    for clip in store:
        png = store.read(clip, "segm.png")
        stack = maps_THW[round(clip.start_s * fps) :][: round(2 * fps)].reshape(-1, 24)
        assert count_maps(png) == round(2 * fps)
        for time_s in np.arange(0, 2, 1 / 16):
            np.testing.assert_array_equal(label_map(png, clip, float(time_s)), from_stack(stack, fps, float(time_s)))
