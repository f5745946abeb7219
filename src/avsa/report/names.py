"""How the field writes what checkpoints and tasks are called here."""

from __future__ import annotations

TASKS = {
    "avc-bin": "AVC-Bin",
    "avsa-bin": "AVSA-Bin",
    "segmentation": "Segmentation",
    **{f"ucf101-{fold}": f"UCF-101, split {fold}" for fold in (1, 2, 3)},
    **{f"hmdb51-{fold}": f"HMDB-51, split {fold}" for fold in (1, 2, 3)},
}
NAMES = {
    "untrained": ("Untrained", "floor: random weights"),
    "kinetics": ("Kinetics", "supervised, flat videos"),
    "avc": ("AVC, first phase", "where the others start"),
    "avc-long": ("AVC", "negatives are other videos; control of equal compute"),
    "avts": ("AVTS", "negatives are other moments"),
    "avsa": ("AVSA", "negatives are other viewpoints"),
    "avsa-mono": ("AVSA, mono", "hears one channel"),
    "avsa-stereo": ("AVSA, stereo", "hears two ears"),
    "avsa-views-1": ("AVSA, 1 viewpoint", ""),
    "avsa-views-2": ("AVSA, 2 viewpoints", ""),
    "avsa-views-8": ("AVSA, 8 viewpoints", ""),
    "avsa-nocur": ("AVSA, no curriculum", "all negatives from the start"),
    "avsa-hard": ("AVSA, hard only", "negatives of the same clip alone"),
    "avsa-temporal": ("AVSA + AVTS", "other viewpoints and other moments"),
    "avsa-depth-0": ("AVSA, depth 0", "without translators"),
    "avsa-depth-1": ("AVSA, depth 1", "translators of one layer"),
    "avsa-depth-4": ("AVSA, depth 4", "translators of four layers"),
    "avsa-mlp": ("AVSA, MLP", "translators see one viewpoint at a time"),
    "end-to-end": ("End to end", "supervised, all weights: upper bound"),
}


def display_name(pretext: str) -> str:
    """`avsa` -> `AVSA`; names that are not known here stay as they are."""
    return NAMES.get(pretext, (pretext, ""))[0]
