"""What a sample of a split's clips sounds and looks like.

Shapes: C = 4 channels, S samples; C = 3 colours, H×W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import floor
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from avsa.clips.clip import Clip
from avsa.clips.store import ClipStore
from avsa.data.decode import decode_audio, decode_video
from avsa.data.labels import MEMBER, label_map
from avsa.errors import UserError
from avsa.report.scenes import rgb_frame
from avsa.report.sheet.hearing import Directions, heard, off_by, told, weighted_median


@dataclass
class Sample:
    """Of the sampled clips of one split.

    Attributes:
        sound, truth: directions; every clip has the same weight.
        told: clips whose truth lists objects.
        off, chance: weighted medians of the angle, in radians, from the sound's direction to the nearest object that
            sounds, of the clip itself and of the sample's next clip.
        mapped: clips with a label map in their middle.
        shares: of the sphere, by label, mean over these maps; `seen`: maps that show the label.
        pictures: middle frames by clip, uint8 (3, H, W).
        damaged: what is wrong with clips that cannot be decoded, by id; nothing of them counts.
    """

    clips: int
    sound: Directions
    truth: Directions
    told: int
    off: float | None
    chance: float | None
    mapped: int = 0
    shares: Counter[int] = field(default_factory=Counter)
    seen: Counter[int] = field(default_factory=Counter)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    damaged: dict[str, str] = field(default_factory=dict)


def draw_sample(numbers: Sequence[int], count: int, seed: int = 0) -> list[int]:
    """At most `count` of the numbers, at random, in their order."""
    chosen = np.random.default_rng(seed).choice(len(numbers), min(count, len(numbers)), replace=False)
    return [numbers[i] for i in sorted(chosen)]


def look_at(store: ClipStore, numbers: Sequence[int], pictures: int, name: str = "") -> Sample:
    """Decode the clips: all their sound, the label map in the middle, and the middle frame of `pictures` of them."""
    pictured = set(numbers[:: max(1, len(numbers) // pictures)][:pictures])
    sounds: list[Directions] = []
    truths: list[dict[str, Any]] = []
    sample = Sample(0, _joined([]), _joined([]), 0, None, None)
    for number in tqdm(numbers, desc=f"data sheet, {name}", unit="clip", leave=False, disable=None):
        clip = store[number]
        try:
            samples = floor(clip.duration_s * clip.sample_rate + 1e-6)
            sound = heard(decode_audio(store.read(clip, "flac"), 0, samples), clip.sample_rate)
            if number in pictured:
                planes = decode_video(store.read(clip, "mp4"), clip.frames // 2, 1)
                sample.pictures[clip.id] = rgb_frame(planes)
            if MEMBER in clip.members:
                _add_labels(sample, store, clip)
        except (ValueError, UserError) as error:
            sample.damaged[clip.id] = str(error)
            continue
        sounds.append(sound)
        truths.append(_truth(store, clip))
    return _with_directions(sample, sounds, truths)


def _with_directions(sample: Sample, sounds: list[Directions], truths: list[dict[str, Any]]) -> Sample:
    known = [(sound, truth) for sound, truth in zip(sounds, truths, strict=True) if len(told(truth).weight)]
    sample.clips, sample.told = len(sounds), len(known)
    sample.sound, sample.truth = _joined(sounds), _joined([told(truth) for _, truth in known])
    others = [*(truth for _, truth in known[1:]), *(truth for _, truth in known[:1])]
    sample.off = _median(known)
    if len(known) > 1:
        sample.chance = _median([(sound, other) for (sound, _), other in zip(known, others, strict=True)])
    return sample


def _median(pairs: list[tuple[Directions, dict[str, Any]]]) -> float | None:
    found = [off_by(sound, truth) for sound, truth in pairs]
    found = [(angles, weight / weight.sum()) for angles, weight in found if weight.sum() > 0]
    if not found:
        return None
    angles, weights = zip(*found, strict=True)
    return weighted_median(np.concatenate(angles), np.concatenate(weights))


def _joined(parts: list[Directions]) -> Directions:
    """All of them, the weights of each part scaled to a sum of 1."""
    parts = [part for part in parts if part.weight.sum() > 0]
    none = np.zeros(0)
    return Directions(
        np.concatenate([none, *(part.azimuth for part in parts)]),
        np.concatenate([none, *(part.elevation for part in parts)]),
        np.concatenate([none, *(part.weight / part.weight.sum() for part in parts)]),
    )


def _truth(store: ClipStore, clip: Clip) -> dict[str, Any]:
    """The clip's truth if its objects are in the form that is known here, else an empty one."""
    try:
        truth = store.truth(clip)
        told(truth)
        times = len(truth.get("time_s", []))
        objects = truth.get("objects", [])
        return truth if all(len(item["azimuth"]) == times for item in objects if item.get("sounding")) else {}
    except (UserError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _add_labels(sample: Sample, store: ClipStore, clip: Clip) -> None:
    """Takes in the shares of the sphere: rows count by the area that they have on it."""
    labels_HW = label_map(store.read(clip, MEMBER), clip, clip.duration_s / 2)
    height, width = labels_HW.shape
    area_H = np.cos(np.pi / 2 * (1 - 2 * (np.arange(height) + 0.5) / height))
    weight_HW = np.broadcast_to((area_H / (area_H.sum() * width))[:, None], (height, width))
    shares = np.bincount(labels_HW.reshape(-1), weight_HW.reshape(-1), minlength=256)
    sample.mapped += 1
    for label in np.flatnonzero(shares):
        sample.shares[int(label)] += shares[label]
        sample.seen[int(label)] += 1
