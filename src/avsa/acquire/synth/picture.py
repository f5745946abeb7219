"""Draw a scene: panoramic frames and label maps.

Each object is drawn in the plane that touches the sphere at its centre, so it keeps its shape near the poles and across
the seam, and in any perspective crop that looks at it. Only the window of pixels around it is computed, for all frames
at once.

Shapes: T frames, H×W pixels (W = 2H), h×w an object's window, C = 3 colours.
"""

import colorsys
import math

import numpy as np
import numpy.typing as npt

from avsa.acquire.synth import looks
from avsa.acquire.synth.places import STUFF, Place, frames, labels
from avsa.acquire.synth.rhythm import Array
from avsa.acquire.synth.scene import Scene, SceneObject
from avsa.acquire.synth.things import THINGS
from avsa.geometry.sphere import pixel_directions

CLASSES = {"things": [thing.name for thing in THINGS], "stuff": list(STUFF)}
RIM = 0.13  # width of the dark outline, in radii

Bytes = npt.NDArray[np.uint8]


def draw(scene: Scene, place: Place, height: int, time_T: Array) -> tuple[Bytes, Bytes]:
    """Colour frames `video_THWC` and class ids `labels_THW` (things first, then stuff) of a scene."""
    video_THWC = frames(place, time_T + scene.clock_s, scene.yaw, scene.hues)
    if scene.light != 1:
        video_THWC = np.round(np.arange(256) * scene.light).clip(0, 255).astype(np.uint8)[video_THWC]
    surroundings_HW = labels(place, scene.yaw) + np.uint8(len(THINGS))
    labels_THW = np.repeat(surroundings_HW[None], len(time_T), 0)
    for item in scene.objects:
        _draw_object(item, time_T, video_THWC, labels_THW)
    return video_THWC, labels_THW


def _draw_object(item: SceneObject, time_T: Array, video_THWC: Bytes, labels_THW: Bytes) -> None:
    height, width = labels_THW.shape[1:]
    azimuth_T, elevation_T = item.direction(time_T)
    row_Th, column_Tw = _window(azimuth_T, elevation_T, item.radius, height, width)
    x, y = _plane(azimuth_T, elevation_T, row_Th, column_Tw, height, width)
    x, y = x / np.float32(math.tan(item.radius)), y / np.float32(math.tan(item.radius))
    thing, phase_T = THINGS[item.kind], item.phases(time_T)
    beat_T = thing.beat(phase_T)
    phase, beat = (a[:, None, None].astype(np.float32) for a in (phase_T, beat_T))
    pose = thing.pose(phase, beat)
    distance, tone = thing.figure(*looks.apply(pose, x, y), phase, beat)
    distance = distance * pose.scale
    pixel = np.float32(math.pi / height / math.tan(item.radius))
    cover, colour = shade(distance, tone, beat, pixel, item.hue)  # what is loud glows
    frame = np.arange(len(time_T))[:, None, None]
    here = (frame, row_Th[:, :, None], column_Tw[:, None, :])
    below = video_THWC[here]
    video_THWC[here] = np.rint(below + cover[..., None] * (colour * 255 - below)).astype(np.uint8)
    labels_THW[here] = np.where(cover > 0.5, np.uint8(item.kind), labels_THW[here])


def shade(
    distance: Array, tone: Array, glow: Array, pixel: float | np.floating | Array, hue: float
) -> tuple[Array, Array]:
    """How much of each pixel a figure covers, and its colour there (values 0 to 1, a last axis more).

    Args:
        distance, tone: of the figure, the distance in radii.
        glow: light of the surface, 0 to 1.
        pixel: a pixel's side in radii.
    """
    cover: Array = np.clip(0.5 - distance / pixel, 0, 1)
    fill = np.clip(-(distance + RIM) / pixel + 0.5, 0, 1)[..., None]
    first, second = _colours(hue)
    return cover, (first + tone[..., None] * (second - first)) * (0.5 + 0.5 * glow[..., None]) * fill


def _colours(hue: float) -> tuple[Array, Array]:
    """A vivid colour and a pale one of the opposite hue."""
    vivid, pale = colorsys.hsv_to_rgb(hue, 0.9, 1.0), colorsys.hsv_to_rgb((hue + 0.5) % 1, 0.25, 1.0)
    return np.array(vivid, np.float32), np.array(pale, np.float32)


def _window(
    azimuth_T: Array, elevation_T: Array, radius: float, height: int, width: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Rows T×h and columns T×w that hold a cap of that radius; one window size for all frames, joined at the seam."""
    rows = min(height, 2 * math.ceil(radius / math.pi * height) + 3)
    top_T = np.round((0.5 - elevation_T / np.pi) * height - 0.5 - rows / 2).astype(int).clip(0, height - rows)
    steepest = float(np.abs(elevation_T).max())
    if steepest + radius < math.pi / 2 - 0.01:
        half = math.asin(math.sin(radius) / math.cos(steepest))
        columns = min(width, 2 * math.ceil(half / (2 * math.pi) * width) + 3)
    else:
        columns = width
    left_T = np.round((0.5 - azimuth_T / (2 * np.pi)) * width - 0.5 - columns / 2).astype(int)
    return top_T[:, None] + np.arange(rows), (left_T[:, None] + np.arange(columns)) % width


def _plane(
    azimuth_T: Array,
    elevation_T: Array,
    row_Th: npt.NDArray[np.int64],
    column_Tw: npt.NDArray[np.int64],
    height: int,
    width: int,
) -> tuple[Array, Array]:
    """Right and up, each T×h×w, of the windows' pixels in the plane touching the sphere at the centre."""
    phi_W, theta_H = (t.numpy() for t in pixel_directions(height, width))
    away_Tw = phi_W[0][column_Tw] - azimuth_T[:, None]
    theta_Th = theta_H[:, 0][row_Th]
    cos_away, sin_away = (f(away_Tw).astype(np.float32)[:, None, :] for f in (np.cos, np.sin))
    cos_row, sin_row = (f(theta_Th).astype(np.float32)[:, :, None] for f in (np.cos, np.sin))
    cos_here, sin_here = (f(elevation_T).astype(np.float32)[:, None, None] for f in (np.cos, np.sin))
    ahead = np.maximum(sin_row * sin_here + cos_row * cos_here * cos_away, 0.02)
    return -cos_row * sin_away / ahead, (sin_row * cos_here - cos_row * sin_here * cos_away) / ahead
