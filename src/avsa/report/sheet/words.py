"""What the figures of the checks are, in words."""

from __future__ import annotations

from dataclasses import dataclass

from avsa.config import Checks


@dataclass(frozen=True)
class Meaning:
    """Of a figure: its name, its unit, what it says; `check` is the ledger's name for missing its threshold, which is
    the magnitude's where the figure is `signed`."""

    title: str
    unit: str = ""
    says: str = ""
    check: str = ""
    signed: bool = False


FIGURES = {
    "rms_db": Meaning("Level", "dB", "of W against full scale; very low is silence", "silent"),
    "loudness": Meaning("Loudness", "LKFS", "of W, as heard; very low is hum, wind or silence", "loudness"),
    "spatial_db": Meaning("Directional energy", "dB", "Y, Z and X against W; very low is mono", "spatial"),
    "vertical_db": Meaning("Vertical energy", "dB", "Z against the lesser of X and Y; high means other channels"),
    "mono_correlation": Meaning("Correlation with W", "", "the smallest of Y, Z, X; 1 is one signal copied", "mono"),
    "mono_gain": Meaning("Gain against W", "", "of what is correlated; a plane wave has 1, copies have √3"),
    "third_signal": Meaning("Third signal", "", "what is in the channels beside two signals; 0 is stereo", "stereo"),
    "directional": Meaning("Directional channels", "", "how many of Y, Z and X are not empty"),
    "diffuseness": Meaning("Diffuseness", "", "0 is one source, 1 sound from everywhere alike"),
    "directionless": Meaning("Directionless", "", "the share of W’s energy from no direction", "voice-over"),
    "dropout_s": Meaning("Standstill", "s", "in which no channel changes, where there is such a stretch", "dropout"),
    "motion": Meaning("Motion", "grey levels", "between frames, where it is liveliest; 0 is a still image", "still"),
    "seam": Meaning(
        "Seam",
        "",
        "the step across the left and right edge against the picture’s own; refused if the poles are high too",
        "projection",
    ),
    "pole": Meaning(
        "Poles", "", "spread of the calmer pole’s row against the picture’s; refused if the seam is high too"
    ),
    "twins": Meaning(
        "Twin pictures", "", "correlation of the picture’s halves; 1 is a stereoscopic video", "stereoscopic"
    ),
    "dropped": Meaning("Missing frames", "", "the share of the time without", "dropped"),
    "start_offset_s": Meaning("Start of the sound", "s", "after the picture’s", "offset", signed=True),
    "duration_gap_s": Meaning("Length of sound and picture", "s", "how far apart they end", "length"),
    "checksum": Meaning("Checksum", "", "1 where the source gave one that the files were compared with", "checksum"),
    "gain_db": Meaning("Gain on ingest", "dB", "where the sound exceeded full scale"),
}

REFUSED = {
    "media": "Files that cannot be opened",
    "video": "No picture",
    "audio": "No sound",
    "channels": "Another number of channels",
    "truncated": "Truncated or damaged files",
    "decode": "Damaged or missing packets",
    "silent": "Silence",
    "spatial": "Mono in four channels",
    "mono": "One signal copied to all channels",
    "still": "Still images",
    "projection": "Not equirectangular",
    "length": "Sound and picture of different lengths",
    "duration": "Too short",
    "truth": "Ground truth that cannot be read",
    "labels": "Label maps that cannot be read",
    "loudness": "Nothing to hear",
    "stereo": "Stereo in four channels",
    "voice-over": "Voice-overs",
    "dropout": "Sound that drops out",
    "stereoscopic": "Stereoscopic videos",
    "offset": "Sound that starts early or late",
    "dropped": "Missing frames",
    "loud": "No part is loud enough",
    "segment": "Listed clips beyond the recording’s end",
    "split": "In no split’s list",
    "rotation": "Turned by metadata",
    "size": "Absurd sizes or rates",
    "checksum": "Changed since its checksum",
    "leak": "On the other side of a test elsewhere",
    "crash": "Decoding crashes or hangs",
    "error": "Other errors",
}


def meaning(figure: str) -> Meaning:
    """Of a figure; of one that is not known here, its name."""
    return FIGURES.get(figure) or Meaning(figure.replace("_", " "))


def thresholds(figure: str, checks: Checks) -> tuple[float | None, float | None]:
    """The least and the most that a figure may be: what the configuration calls ``min_<figure>``, ``max_<figure>``."""
    least, most = (getattr(checks, f"{end}_{figure}", None) for end in ("min", "max"))
    if most is not None and meaning(figure).signed:
        return -most, most
    return least, most
