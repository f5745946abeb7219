"""Which of the formats on offer are fetched: first-order ambisonics, and an equirectangular picture.

A format is a dictionary as yt-dlp makes it. Of YouTube's answer it keeps the projection and the kind of spatial audio
as words of ``format_note`` only: ``equi`` (EQUIRECTANGULAR), ``mesh`` (EAC), ``ambisonics_quad``, ``ambisonics_5_1``.
To what the server may well refuse it adds ``MISSING POT``: no token that proves where the request comes from.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from avsa.acquire.youtube.states import State

Format = Mapping[str, Any]
Projection = Literal["equirectangular", "mesh", "stereoscopic", "unknown"]

_PROTOCOLS = ("http", "https", "http_dash_segments")  # what can be continued byte by byte, or piece by piece
_FOUR_CHANNELS = ("338", "339")  # YouTube's Opus and Vorbis with four channels
_CODECS = ("avc", "h264", "vp9", "vp09", "av01")  # from what decodes fastest


@dataclass(frozen=True)
class Offer:
    """A format, and the application of YouTube's that it was offered to ("" for a mirror)."""

    client: str
    format: Format = field(repr=False)

    @property
    def key(self) -> tuple[str, str]:
        return self.client, str(self.format["format_id"])


@dataclass(frozen=True)
class Choice:
    """What to fetch: one file with picture and sound, or the picture and the sound in a file each."""

    offers: tuple[Offer, ...]
    projection: Projection
    channel_order: str  # "" where only the file can tell

    @property
    def certain(self) -> bool:
        """Whether no other application can offer anything better."""
        sure = not any(_doubtful(offer.format) for offer in self.offers)
        return sure and self.projection == "equirectangular" and self.channel_order == "acn-sn3d"

    @property
    def bytes(self) -> int:
        """As far as it is said."""
        return sum(_bytes(offer.format) for offer in self.offers)


@dataclass(frozen=True)
class Lack:
    """Why nothing can be fetched."""

    state: State
    reason: str


def choose(offers: Iterable[Offer], max_height: int | None = None, max_bytes: float = float("inf")) -> Choice | Lack:
    """The best picture and sound on offer.

    Sound: 4 channels in Opus, Vorbis or AAC, else AAC with 6. Picture: equirectangular rather than one that says
    nothing of its projection, never a mesh or two panoramas; then the largest that is no higher than `max_height` and,
    with the sound, fits `max_bytes`; if none is so low, the lowest. A file with both is taken where there is no such
    pair.

    Args:
        max_height: pixels.
        max_bytes: of all files together, as far as their size is said.
    """
    usable = [offer for offer in offers if _usable(offer.format)]
    sounds = sorted((o for o in usable if _has(o, "a") and not _has(o, "v") and channel_order(o.format)), key=_sound)
    pictures = [o for o in usable if _has(o, "v") and not _has(o, "a") and _panorama(o.format)]
    films = [o for o in usable if _has(o, "v") and _has(o, "a") and _panorama(o.format)]
    whole = [o for o in films if channel_order(o.format) or o.format.get("audio_channels") is None]
    sets = [(picture, sounds[0]) for picture in pictures] if sounds else [(film,) for film in whole]
    if not sets:
        return _lack(usable, bool(sounds or whole))
    fitting = [chosen for chosen in sets if sum(_bytes(offer.format) for offer in chosen) <= max_bytes]
    if not fitting:
        smallest = min(sum(_bytes(offer.format) for offer in chosen) for chosen in sets)
        return Lack("too-large", f"{smallest / 1e6:.0f} MB, and {max_bytes / 1e6:.0f} are allowed")
    best = min(fitting, key=lambda chosen: _picture(chosen[0], max_height))
    return Choice(best, projection(best[0].format), channel_order(best[-1].format))


def projection(offered: Format) -> Projection:
    """How the sphere lies in the picture."""
    notes = _notes(offered)
    if any(note.startswith("equi_") for note in notes):
        return "stereoscopic"
    return "equirectangular" if "equi" in notes else "mesh" if "mesh" in notes else "unknown"


def channel_order(offered: Format) -> str:
    """What `avsa.ambisonics.foa` calls the order of its channels; "" for sound that is not spatial, or unknown."""
    codec, channels = str(offered.get("acodec") or "").lower(), offered.get("audio_channels")
    if codec.startswith(("mp4a", "aac")):
        return {4: "youtube-aac4", 6: "youtube-aac6"}.get(channels or 0, "")
    if codec.startswith(("opus", "vorbis")) and (
        channels == 4 or (channels is None and _id(offered) in _FOUR_CHANNELS)
    ):
        return "acn-sn3d"
    return ""


def _usable(offered: Format) -> bool:
    made_up = str(offered["format_id"]).endswith(("-sr", "-drc"))  # enlarged by a network; with a compressor
    return (
        bool(offered.get("url"))
        and offered.get("protocol") in _PROTOCOLS
        and not offered.get("has_drm")
        and not made_up
        and not {"damaged", "drc"} & _notes(offered)
        and offered.get("ext") != "mhtml"
    )


def _has(offer: Offer, kind: Literal["a", "v"]) -> bool:
    return offer.format.get(f"{kind}codec") != "none"


def _panorama(offered: Format) -> bool:
    return projection(offered) in ("equirectangular", "unknown")


def _notes(offered: Format) -> set[str]:
    return {note.strip().lower() for note in str(offered.get("format_note") or "").split(",")}


def _doubtful(offered: Format) -> bool:
    return "missing pot" in _notes(offered)


def _id(offered: Format) -> str:
    return str(offered["format_id"]).partition("-")[0]


def _bytes(offered: Format) -> int:
    return int(offered.get("filesize") or offered.get("filesize_approx") or 0)


def _sound(offer: Offer) -> tuple[Any, ...]:
    offered = offer.format
    codec = str(offered.get("acodec")).lower()
    kinds = (codec.startswith("opus"), codec.startswith("vorbis"), offered.get("audio_channels") == 4)
    known = any(note.startswith("ambisonics") for note in _notes(offered))
    rank = kinds.index(True) if any(kinds) else len(kinds)
    return rank, _doubtful(offered), not known, -(offered.get("language_preference") or 0), -(offered.get("tbr") or 0)


def _picture(offer: Offer, max_height: int | None) -> tuple[Any, ...]:
    offered = offer.format
    height, codec = offered.get("height") or 0, str(offered.get("vcodec")).lower()
    over = max_height is not None and height > max_height
    codecs = next((rank for rank, name in enumerate(_CODECS) if codec.startswith(name)), len(_CODECS))
    unsure = projection(offered) != "equirectangular"
    return (
        unsure,
        _doubtful(offered),
        over,
        height if over else -height,
        codecs,
        -(offered.get("fps") or 0),
        -(offered.get("tbr") or 0),
    )


def _lack(usable: list[Offer], spatial: bool) -> Lack:
    if not usable:
        return Lack("no-format", "nothing on offer can be fetched: DRM, live or HLS alone")
    if not spatial:
        heard = sorted({str(o.format.get("audio_channels") or "?") for o in usable if _has(o, "a")})
        return Lack(
            "no-spatial-audio", f"no sound of 4 channels, or of 6 in AAC; channels on offer: {', '.join(heard)}"
        )
    seen = {projection(offer.format) for offer in usable if _has(offer, "v")}
    if "mesh" in seen:
        return Lack("cube-map-only", "the picture is offered as a cube map (mesh) only")
    if "stereoscopic" in seen:
        return Lack("stereoscopic-only", "the picture is offered with two panoramas only")
    return Lack("no-format", "no picture on offer")
