"""Choosing among formats as yt-dlp describes those of YouTube's 360° videos."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from avsa.acquire.youtube.formats import Choice, Lack, Offer, channel_order, choose, projection
from avsa.config import Clips


def picture(name: str, height: int, note: str = "equi", codec: str = "vp9", **more: Any) -> dict[str, Any]:
    return {
        **{"format_id": name, "ext": "webm" if codec == "vp9" else "mp4", "height": height, "width": height * 16 // 9},
        **{"vcodec": codec, "acodec": "none", "fps": 30, "protocol": "https", "url": f"https://cdn/{name}"},
        **{
            "format_note": ", ".join(filter(None, [f"{height}p", note])),
            "tbr": height * 5.0,
            "filesize": height * 10_000,
        },
        **more,
    }


def sound(name: str, codec: str, channels: int | None, note: str = "", **more: Any) -> dict[str, Any]:
    return {
        **{"format_id": name, "ext": "m4a" if codec.startswith("mp4a") else "webm", "vcodec": "none", "acodec": codec},
        **{"audio_channels": channels, "protocol": "https", "url": f"https://cdn/{name}", "tbr": 128.0},
        **{"format_note": ", ".join(filter(None, ["medium", note])), "filesize": 1_000_000},
        **more,
    }


OPUS4 = sound("338", "opus", 4, "ambisonics_quad", tbr=480.0)
VORBIS4 = sound("339", "vorbis", 4, "ambisonics_quad")
AAC6 = sound("258", "mp4a.40.2", 6, "ambisonics_5_1", tbr=385.0)
STEREO = [sound("140", "mp4a.40.2", 2), sound("251", "opus", 2, tbr=160.0)]
STORYBOARD = {"format_id": "sb0", "ext": "mhtml", "vcodec": "none", "acodec": "none", "protocol": "mhtml", "url": "x"}
MUXED = {
    **picture("18", 360, "", "avc1.42001E"),
    **{"acodec": "mp4a.40.2", "audio_channels": 2, "format_note": "360p"},
}
LADDER = [
    picture("136", 720, codec="avc1.4d401f"),
    picture("247", 720),
    picture("137", 1080, codec="avc1.640028"),
    picture("248", 1080),
    picture("313", 2160),
]
MESH = [picture(one["format_id"], one["height"], "mesh") for one in LADDER]


def offers(formats: list[dict[str, Any]], client: str = "android_vr") -> list[Offer]:
    return [Offer(client, one) for one in formats]


def keys(choice: Choice | Lack) -> list[tuple[str, str]]:
    assert isinstance(choice, Choice), choice
    return [offer.key for offer in choice.offers]


def test_ambisonics_and_the_largest_panorama_below_the_limit() -> None:
    chosen = choose(offers([STORYBOARD, *STEREO, AAC6, VORBIS4, OPUS4, MUXED, *LADDER]), max_height=1080)
    assert keys(chosen) == [("android_vr", "137"), ("android_vr", "338")]
    assert isinstance(chosen, Choice)
    assert (chosen.projection, chosen.channel_order, chosen.certain) == ("equirectangular", "acn-sn3d", True)
    assert chosen.bytes == 11_800_000


@pytest.mark.parametrize(("limit", "expected"), [(None, "313"), (2160, "313"), (1079, "136"), (144, "136")])
def test_a_limit_of_height(limit: int | None, expected: str) -> None:
    """Where nothing is so low, the lowest."""
    assert keys(choose(offers([OPUS4, *LADDER]), limit))[0][1] == expected


@pytest.mark.parametrize(
    ("sounds", "expected", "order"),
    [
        ([AAC6, VORBIS4, OPUS4], "338", "acn-sn3d"),
        ([AAC6, VORBIS4], "339", "acn-sn3d"),
        ([AAC6, *STEREO], "258", "youtube-aac6"),
        ([sound("327", "mp4a.40.2", 6), AAC6], "258", "youtube-aac6"),  # one says that it is ambisonics
        ([sound("327", "mp4a.40.2", 6), *STEREO], "327", "youtube-aac6"),
        ([sound("256", "mp4a.40.5", 4), AAC6], "256", "youtube-aac4"),
        ([sound("338", "opus", None), *STEREO], "338", "acn-sn3d"),  # older answers do not count channels
        ([{**OPUS4, "format_id": "338-drc"}, AAC6], "258", "youtube-aac6"),
        ([sound("338-0", "opus", 4, language_preference=-1), sound("338-1", "opus", 4, language_preference=10)],
         "338-1", "acn-sn3d"),
    ],
)  # fmt: skip
def test_sound(sounds: list[dict[str, Any]], expected: str, order: str) -> None:
    chosen = choose(offers([*sounds, LADDER[0]]))
    assert keys(chosen)[1][1] == expected
    assert isinstance(chosen, Choice)
    assert chosen.channel_order == order
    assert chosen.certain == (order == "acn-sn3d")


@pytest.mark.parametrize(
    "heard",
    [
        STEREO,
        [sound("380", "ac-3", 6)],
        [sound("328", "ec-3", 6)],
        [sound("774", "opus", 6)],
        [sound("251", "opus", None)],
        [],
    ],
)
def test_no_spatial_sound(heard: list[dict[str, Any]]) -> None:
    lack = choose(offers([*heard, *LADDER, MUXED]))
    assert isinstance(lack, Lack)
    assert lack.state == "no-spatial-audio"


def test_a_cube_map_is_not_taken() -> None:
    lack = choose(offers([OPUS4, *MESH]))
    assert isinstance(lack, Lack)
    assert lack.state == "cube-map-only"
    both = choose(offers([OPUS4, picture("271", 720, "equi_threed_top_bottom")]))
    assert isinstance(both, Lack)
    assert both.state == "stereoscopic-only"


def test_picture_and_sound_may_come_from_two_applications() -> None:
    """One has the sound and a mesh, the other a panorama without the sound."""
    mixed = [*offers([OPUS4, *MESH], "web"), *offers([*STEREO, *LADDER[:2]], "visionos")]
    assert keys(choose(mixed)) == [("visionos", "136"), ("web", "338")]


def test_a_picture_that_says_nothing_is_the_last_resort() -> None:
    plain = picture("399", 1440, "", "av01.0.08M.08")
    unsure = choose(offers([OPUS4, plain, *MESH]))
    assert keys(unsure)[0][1] == "399"
    assert isinstance(unsure, Choice)
    assert (unsure.projection, unsure.certain) == ("unknown", False)
    assert keys(choose(offers([OPUS4, plain, LADDER[0]])))[0][1] == "136"


def test_what_may_be_refused_comes_last() -> None:
    """A lower picture rather than one without a token, and nobody is skipped for the latter."""
    doubtful = [{**one, "format_note": f"{one['format_note']}, MISSING POT"} for one in (OPUS4, *LADDER[2:])]
    assert [name for _, name in keys(choose(offers([*doubtful, *LADDER[:2]])))] == ["136", "338"]
    chosen = choose(offers(doubtful))
    assert isinstance(chosen, Choice)
    assert not chosen.certain
    mixed = [*offers(doubtful, "android_vr"), *offers([OPUS4], "tv")]
    assert keys(choose(mixed)) == [("android_vr", "313"), ("tv", "338")]


def test_what_cannot_be_used_is_left_out() -> None:
    useless = [
        {**LADDER[4], "has_drm": True},
        {**LADDER[4], "protocol": "m3u8_native"},
        {**LADDER[4], "format_id": "313-sr"},
        {**LADDER[4], "format_note": "2160p, equi, DAMAGED"},
        {**LADDER[4], "url": None},
    ]
    assert keys(choose(offers([OPUS4, *useless, LADDER[0]])))[0][1] == "136"
    lack = choose(offers([STORYBOARD, {**LADDER[4], "has_drm": True}]))
    assert isinstance(lack, Lack)
    assert lack.state == "no-format"


def test_a_limit_of_size() -> None:
    """A smaller picture rather than none; the sound counts."""
    assert keys(choose(offers([OPUS4, *LADDER]), None, 22_600_000))[0][1] == "313"
    assert keys(choose(offers([OPUS4, *LADDER]), None, 22_599_999))[0][1] == "137"
    lack = choose(offers([OPUS4, *LADDER]), None, 8_000_000)
    assert isinstance(lack, Lack)
    assert (lack.state, lack.reason) == ("too-large", "8 MB, and 8 are allowed")


def test_a_file_of_a_mirror() -> None:
    """Nothing is known of it before it is there."""
    direct = {"format_id": "webm", "url": "http://m/a.webm", "ext": "webm", "vcodec": None, "protocol": "http"}
    chosen = choose(offers([direct], ""))
    assert keys(chosen) == [("", "webm")]
    assert isinstance(chosen, Choice)
    assert (chosen.projection, chosen.channel_order) == ("unknown", "")
    lack = choose(offers([{**direct, "vcodec": "none"}], ""))
    assert isinstance(lack, Lack)


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ("720p, equi", "equirectangular"),
        ("English (default), 720p60, equi, ambisonics_quad", "equirectangular"),
        ("1080s, mesh", "mesh"),
        ("1440s, equi_threed_left_right", "stereoscopic"),
        ("720p", "unknown"),
        (None, "unknown"),
    ],
)
def test_projection(note: str | None, expected: str) -> None:
    assert projection({"format_note": note}) == expected


def test_orders_of_channels_are_those_that_ingest_converts() -> None:
    known = get_args(Clips.model_fields["channel_order"].annotation)
    assert {channel_order(one) for one in (OPUS4, AAC6, sound("256", "mp4a.40.2", 4))} <= set(known)
    assert channel_order(sound("141", "mp4a.40.2", 2)) == ""
