"""Checks of the picture, of the time line and of what may be opened at all: figures, thresholds, refusals."""

from __future__ import annotations

import hashlib
import json
import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from clips_media import Array, Writer, field, panorama

from avsa.clips.checks import check_frames, check_picture, check_starts, dropped
from avsa.clips.ingest import ingest
from avsa.clips.ledger import RefusedError
from avsa.clips.picture_figures import PictureFigures
from avsa.clips.probe import open_stream
from avsa.clips.store import ClipStore
from avsa.config import Checks, Clips

CONFIG = Clips(clip_s=2.0, height=64, channel_order="acn-sn3d")
REAL = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[2] / "../shared/data")) / "real"
needs_recordings = pytest.mark.skipif(not REAL.is_dir(), reason=f"no recordings in {REAL}")


def refusal(raw: Path, out: Path, config: Clips = CONFIG) -> dict[str, Any]:
    """Ingest `raw`, in which one recording is good and the other is not."""
    Writer(raw / "good.mp4").add(panorama(32), field(2))
    ingest(raw, out, config, jobs=1)
    assert [clip.source for clip in ClipStore(out)] == ["good.mp4"]
    (entry,) = [json.loads(line) for line in (out / "refused.jsonl").read_text().splitlines()]
    return dict(entry)


def shown(frame: Any, height: int = 120) -> dict[str, float]:
    """Figures of a picture that moves, whatever it shows."""
    figures = PictureFigures()
    figures.add(frame.reformat(width=2 * height, height=height, format="yuv420p", interpolation="AREA"))
    return {**figures.figures(), "motion": 9.0}


def projected(image_HWC: Array, filter_: str, arguments: str) -> Any:
    """A picture through one of FFmpeg's filters."""
    graph: Any = av.filter.Graph()
    height, width = image_HWC.shape[:2]
    source = graph.add_buffer(width=width, height=height, format="rgb24", time_base=Fraction(1, 16))
    through, sink = graph.add(filter_, arguments), graph.add("buffersink")
    source.link_to(through)
    through.link_to(sink)
    graph.configure()
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24")
    frame.pts = 0
    graph.push(frame)
    return graph.pull()


def real_picture() -> Array:
    with av.open(str(REAL / "sitar360.webm")) as container:
        return np.asarray(next(container.decode(video=0)).to_ndarray(format="rgb24"))[::2, ::2]


@needs_recordings
@pytest.mark.parametrize("turn", ["0", "90", "180", "pitch=30", "roll=30"])
def test_a_real_panorama_passes_however_it_is_turned(turn: str) -> None:
    arguments = turn if "=" in turn else f"yaw={turn}"
    check_picture(shown(projected(real_picture(), "v360", f"input=e:output=e:{arguments}:w=960:h=480")), Checks())


@needs_recordings
@pytest.mark.parametrize(
    ("layout", "yaw"),
    [(cube, yaw) for cube in ("eac", "c3x2", "c6x1") for yaw in (0, 45, 90, 180)]
    + [("dfisheye:h_fov=190:v_fov=190", yaw) for yaw in (0, 90)],
)
def test_other_projections_of_a_real_panorama_are_refused(layout: str, yaw: int) -> None:
    width, height = (960, 160) if layout == "c6x1" else (960, 480) if "fisheye" in layout else (720, 480)
    frame = projected(real_picture(), "v360", f"input=e:output={layout}:yaw={yaw}:w={width}:h={height}")
    with pytest.raises(RefusedError, match="not equirectangular"):
        check_picture(shown(frame), Checks())


@needs_recordings
@pytest.mark.parametrize("axis", [0, 1], ids=["one above the other", "side by side"])
def test_stereoscopic_pictures_are_refused(axis: int) -> None:
    """The other eye sees everything 2 degrees aside."""
    picture = real_picture()
    both = np.concatenate([picture, np.roll(picture, picture.shape[1] // 180, axis=1)], axis=axis)
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(both), format="rgb24")
    with pytest.raises(RefusedError, match="two pictures in one frame"):
        check_picture(shown(frame), Checks())


def test_share_of_missing_frames() -> None:
    """Of 31 frames at 10 per second, three in a row and one more are missing: 0.4 of 3 seconds."""
    times = [n / 10 for n in range(31) if n not in (4, 5, 6, 20)]
    assert dropped(times) == pytest.approx(0.4 / 3)
    assert dropped([n / 10 for n in range(31)]) == 0
    assert dropped([round(n / 29.97, 3) for n in range(90)]) == 0  # milliseconds
    assert dropped([n / 10 for n in range(0, 31, 2)]) == 0  # every other one: a slower video
    assert dropped([0.0, 1.0]) == dropped([]) == 0


@pytest.mark.parametrize(("missing", "refused"), [(2, False), (8, True)])
def test_missing_frames(tmp_path: Path, missing: int, refused: bool) -> None:
    frames, lost = panorama(60), {5 + 6 * n for n in range(missing)}
    Writer(tmp_path / "whole.mkv").add(frames, field(2), fps=30, audio="flac", layout="quad", options={"g": "1"})
    (tmp_path / "raw").mkdir()
    container: Any
    with av.open(str(tmp_path / "whole.mkv")) as container, av.open(str(tmp_path / "raw/bad.mkv"), "w") as to:
        streams = {stream.index: to.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            number = -1 if packet.pts is None else round(float(packet.pts * packet.time_base) * 30)
            if packet.dts is not None and not (packet.stream.type == "video" and number in lost):
                packet.stream = streams[packet.stream.index]
                to.mux(packet)
    if refused:
        entry = refusal(tmp_path / "raw", tmp_path / "out")
        assert (entry["check"], entry["threshold"]) == ("dropped", CONFIG.checks.max_dropped)
    else:
        ingest(tmp_path / "raw", tmp_path / "out", CONFIG, jobs=1)
    share = entry["figure"] if refused else ClipStore(tmp_path / "out")[0].checks["dropped"]
    assert share == pytest.approx(missing / 60, abs=0.01)


def test_late_sound(tmp_path: Path) -> None:
    sound = field(4)[:, 24000:]
    Writer(tmp_path / "raw/bad.mkv").add(panorama(64), sound, audio="flac", layout="quad", sound_start_s=1.0)
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert (entry["check"], entry["figure"], entry["threshold"]) == ("offset", pytest.approx(1, abs=0.01), 0.5)
    assert "the sound starts 1.00 s after the picture" in entry["reason"]
    with pytest.raises(RefusedError, match=r"the picture starts 2.00 s after the sound"):
        check_starts(-2.0, Checks())


def test_thresholds_of_the_time_line() -> None:
    check_frames(0.05, Checks())
    with pytest.raises(RefusedError, match="in 20% of the time"):
        check_frames(0.2, Checks())
    check_frames(0.2, Checks(max_dropped=0.25))
    check_starts(1.0, Checks(max_start_offset_s=2))


@needs_recordings
def test_every_figure_of_a_real_recording_is_in_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/sitar360.webm").symlink_to(REAL / "sitar360.webm")
    ingest(tmp_path / "raw", tmp_path / "out", Clips(height=120), jobs=1)
    (clip,) = ClipStore(tmp_path / "out")
    limits = Checks()
    assert clip.checks["loudness"] == pytest.approx(-20, abs=2)
    assert clip.checks["diffuseness"] == pytest.approx(0.40, abs=0.02)
    assert clip.checks["directionless"] < limits.max_directionless / 10
    assert clip.checks["dropped"] == 0
    assert abs(clip.checks["start_offset_s"]) < 0.01
    assert clip.checks["twins"] < limits.max_twins - 0.05
    assert clip.checks["motion"] > limits.min_motion
    assert clip.checks["seam"] < limits.max_seam / 2


def test_a_turned_picture_is_refused(tmp_path: Path) -> None:
    Writer(tmp_path / "raw/bad.mp4").add(panorama(32), field(2))
    payload = bytearray((tmp_path / "raw/bad.mp4").read_bytes())
    matrix = payload.find(b"tkhd") + 44
    payload[matrix : matrix + 20] = b"".join(n.to_bytes(4, "big") for n in (0, 0x10000, 0, 0xFFFF0000, 0))
    (tmp_path / "raw/bad.mp4").write_bytes(payload)
    entry = refusal(tmp_path / "raw", tmp_path / "out")
    assert entry["check"] == "rotation"
    assert abs(entry["figure"]) == 90


def test_play_lists_and_pipes_are_not_opened(tmp_path: Path) -> None:
    Writer(tmp_path / "private.mp4").add(panorama(32), field(2))
    (tmp_path / "list.mp4").write_text("ffconcat version 1.0\nfile private.mp4\n")
    os.mkfifo(tmp_path / "pipe.mp4")
    for name in ("list.mp4", "pipe.mp4"):
        with pytest.raises(RefusedError) as refused:
            open_stream(tmp_path / name, "video")
        assert refused.value.check == "media"


def test_absurd_sizes_are_not_decoded(tmp_path: Path) -> None:
    Writer(tmp_path / "a.wav").add(sound_CS=field(1), audio="pcm_s16le", layout="quad")
    payload = bytearray((tmp_path / "a.wav").read_bytes())
    rate = payload.find(b"fmt ") + 12
    payload[rate : rate + 4] = (1).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(payload)
    with pytest.raises(RefusedError, match="1 samples a second") as refused:
        open_stream(tmp_path / "a.wav", "audio")
    assert refused.value.check == "size"


@pytest.mark.parametrize("ledger", ["SHA256SUMS", "downloads.jsonl"])
def test_a_file_that_changed_since_its_checksum_was_recorded(tmp_path: Path, ledger: str) -> None:
    raw = tmp_path / "raw"
    for stem in ("bad", "other"):
        Writer(raw / f"{stem}.mp4").add(panorama(32))
        Writer(raw / f"{stem}.wav").add(sound_CS=field(2), audio="pcm_s16le", layout="quad")
    sums = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(raw.iterdir())}
    lines = {
        "SHA256SUMS": [f"{value}  {name}" for name, value in sums.items()],
        "downloads.jsonl": [json.dumps({"files": [{"path": n, "sha256": v}]}) for n, v in sums.items()] + ['{"fi'],
    }[ledger]
    (raw / ledger).write_text("\n".join(lines))
    payload = bytearray((raw / "bad.wav").read_bytes())
    payload[1000] ^= 4  # a bit of one sample: nothing else could notice
    (raw / "bad.wav").write_bytes(payload)
    ingest(raw, tmp_path / "out", CONFIG, jobs=1)
    (clip,) = ClipStore(tmp_path / "out")
    assert (clip.source, clip.checks["checksum"]) == ("other.mp4", 1)
    (entry,) = [json.loads(line) for line in (tmp_path / "out/refused.jsonl").read_text().splitlines()]
    assert (entry["source"], entry["check"]) == ("bad.mp4", "checksum")
