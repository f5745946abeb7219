"""Real first-order recordings: where they come from, and which channel order they are in."""

import math
import os
from functools import lru_cache
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from avsa.ambisonics.energy import diffuseness, direction_of_arrival, guess_order
from avsa.ambisonics.foa import from_acn_sn3d, to_acn_sn3d
from avsa.geometry.sphere import angular_distance

SHARED = Path(os.environ.get("AVSA_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))
B_FORMAT = ["foa_recording_1.ogg", "foa_recording_2.ogg", "foa_recording_3.ogg", "foa_room_response.wav"]

pytestmark = pytest.mark.skipif(not (SHARED / "real").is_dir(), reason=f"no recordings in {SHARED / 'real'}")


@lru_cache
def recording(name: str) -> Tensor:
    with av.open(str(SHARED / "real" / name)) as container:
        frames = [np.asarray(f.to_ndarray()) for f in container.decode(audio=0)]
    if frames[0].shape[0] != 4:  # interleaved
        frames = [frame.reshape(-1, 4).T for frame in frames]
    sound = np.concatenate(frames, axis=1)
    return torch.from_numpy(sound / 32768 if sound.dtype.kind == "i" else sound).double()


def test_the_sitar_is_where_it_is_seen() -> None:
    sitar = recording("sitar360.webm")
    azimuth, elevation = direction_of_arrival(sitar)
    assert math.degrees(azimuth.item()) == pytest.approx(-4.8, abs=1)
    assert math.degrees(elevation.item()) == pytest.approx(9.9, abs=1)
    assert 1 - diffuseness(sitar).item() == pytest.approx(0.60, abs=0.01)


def test_the_sitar_is_recognised_as_acn() -> None:
    order, probability = guess_order(recording("sitar360.webm"))
    assert order == "acn-sn3d"
    assert probability > 0.7


@pytest.mark.parametrize("name", B_FORMAT)
def test_b_format_is_recognised_as_not_acn(name: str) -> None:
    order, probability = guess_order(recording(name))
    assert order == "fuma"
    assert probability > 0.7


@pytest.mark.parametrize("name", B_FORMAT)
def test_b_format_is_recognised_as_acn_once_converted(name: str) -> None:
    assert guess_order(to_acn_sn3d(recording(name), "fuma"))[0] == "acn-sn3d"


@pytest.mark.parametrize("name", B_FORMAT)
def test_b_format_taken_for_acn_points_elsewhere(name: str) -> None:
    """Converting when told so matters: taken for ACN, X is heard on the left, Y above."""
    told = direction_of_arrival(to_acn_sn3d(recording(name), "fuma"))
    taken = direction_of_arrival(recording(name))
    assert angular_distance(*told, *taken).item() > math.radians(45)
    torch.testing.assert_close(
        to_acn_sn3d(from_acn_sn3d(recording(name), "fuma"), "fuma"), recording(name), atol=1e-12, rtol=0
    )
