"""yt-dlp's own extractor for YouTube, fed with answers in YouTube's form; media come from a server on this machine.

Only what goes to www.youtube.com is answered here: the watch page and the player's interface, which is told the name of
the asking application.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from download_media import write_film
from test_download_run import Server, settings
from yt_dlp import YoutubeDL
from yt_dlp.networking import Response

from avsa.acquire.youtube.download import download
from avsa.acquire.youtube.downloads import Record
from avsa.acquire.youtube.lists import read_lists
from avsa.acquire.youtube.media import sha256
from avsa.clips.recordings import list_recordings

ID = "-360video_0"
VISION, QUEST, WEB = "VISIONOS", "ANDROID_VR", "WEB"
Answer = dict[str, Any]


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    write_film(folder / "136.mp4", sound="")
    write_film(folder / "247.webm", picture="libvpx-vp9", sound="")
    write_film(folder / "338.webm", picture="", sound="libopus", layout="quad")
    write_film(folder / "258.m4a", picture="", sound="aac", layout="5.1")
    return folder


@pytest.fixture
def server(tmp_path: Path, media: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    for file in media.iterdir():
        (folder / file.name).hardlink_to(file)
    served = Server(folder)
    yield served
    served.process.kill()
    served.process.wait()


class YouTube:
    """What stands in for YouTube: an answer per application, and a record of who asked."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.answers: dict[str, Answer | int] = {}
        self.asked: list[str] = []

    def formats(self, *names: str, projection: str = "EQUIRECTANGULAR", where: str = "") -> Answer:
        """A playable video that offers these of the server's files."""
        kinds: dict[str, tuple[str, str, dict[str, Any]]] = {
            "136": ("video/mp4", "avc1.4d401f", {"width": 64, "height": 32, "fps": 8, "qualityLabel": "720p"}),
            "247": ("video/webm", "vp9", {"width": 64, "height": 32, "fps": 8, "qualityLabel": "720p"}),
            "338": (
                "audio/webm",
                "opus",
                {"audioChannels": 4, "spatialAudioType": "SPATIAL_AUDIO_TYPE_AMBISONICS_QUAD"},
            ),
            "258": ("audio/mp4", "mp4a.40.2", {"audioChannels": 6}),
            "251": ("audio/webm", "opus", {"audioChannels": 2}),
        }
        suffixes = {"video/mp4": "mp4", "video/webm": "webm", "audio/webm": "webm", "audio/mp4": "m4a"}
        adaptive = []
        for name in names:
            mime, codec, more = kinds[name]
            file = self.server.folder / f"{name}.{suffixes[mime]}"
            entry = {
                "itag": int(name),
                "url": f"http://127.0.0.1:{self.server.port}{where}/{file.name}?source=youtube",
                "mimeType": f'{mime}; codecs="{codec}"',
                "bitrate": 100_000,
                "averageBitrate": 100_000,
                "approxDurationMs": "5000",
                **({"contentLength": str(file.stat().st_size)} if file.exists() else {}),
                **(
                    {"projectionType": projection}
                    if mime.startswith("video")
                    else {"audioQuality": "AUDIO_QUALITY_MEDIUM"}
                ),
                **more,
            }
            adaptive.append(entry)
        return {
            "playabilityStatus": {"status": "OK"},
            "videoDetails": {"videoId": ID, "title": "x", "lengthSeconds": "5", "isLiveContent": False},
            "streamingData": {"adaptiveFormats": adaptive},
        }

    def refusal(self, status: str, reason: str, sub: str = "") -> Answer:
        screen = {"playerErrorMessageRenderer": {"subreason": {"simpleText": sub}}} if sub else {}
        return {
            "playabilityStatus": {"status": status, "reason": reason, "errorScreen": screen},
            "videoDetails": {"videoId": ID},
        }

    def answer(self, request: Any) -> Response | None:
        """None for what is not YouTube's."""
        if not request.url.startswith("https://www.youtube.com"):
            return None
        if "/youtubei/v1/player" not in request.url:
            return Response(io.BytesIO(b"<html></html>"), request.url, {"Content-Type": "text/html"})
        client = json.loads(request.data)["context"]["client"]["clientName"]
        self.asked.append(client)
        found = self.answers.get(client, self.refusal("ERROR", "Video unavailable"))
        if isinstance(found, int):
            from yt_dlp.networking.exceptions import HTTPError

            raise HTTPError(Response(io.BytesIO(), request.url, {"Retry-After": "5"}, status=found))
        return Response(io.BytesIO(json.dumps(found).encode()), request.url, {"Content-Type": "application/json"})


@pytest.fixture
def youtube(server: Server, monkeypatch: pytest.MonkeyPatch) -> YouTube:
    stand_in = YouTube(server)
    real = YoutubeDL.urlopen

    def urlopen(self: Any, request: Any) -> Any:
        asked = request if hasattr(request, "url") else None
        return (asked and stand_in.answer(asked)) or real(self, request)

    monkeypatch.setattr(YoutubeDL, "urlopen", urlopen)
    return stand_in


@pytest.fixture
def run(server: Server, tmp_path: Path) -> Callable[..., Record]:
    def fetch(**changes: Any) -> Record:
        (tmp_path / "train.txt").write_text(f"{ID}\n")
        (tmp_path / "segments.txt").write_text(f"{ID} 0")
        clients = ["visionos", "android_vr", "web+no-agent"]
        config = settings(server, **{"address": "https://www.youtube.com/watch?v={id}", "clients": clients, **changes})
        return download(read_lists(tmp_path), tmp_path / "raw", config).records[ID]

    return fetch


def test_the_first_that_offers_all(
    youtube: YouTube, run: Callable[..., Record], media: Path, server: Server, tmp_path: Path
) -> None:
    youtube.answers[VISION] = youtube.formats("136", "247", "338", "258", "251")
    record = run()
    assert record.state == "ok", record.error
    assert [(file.path, file.format, file.client) for file in record.files] == [
        (f"train/{ID}.mp4", "136", "visionos"),
        (f"train/{ID}.webm", "338", "visionos"),
    ]
    assert [file.sha256 for file in record.files] == [sha256(media / "136.mp4"), sha256(media / "338.webm")]
    assert (record.projection, record.channel_order) == ("equirectangular", "acn-sn3d")
    assert youtube.asked == [VISION]
    (found,) = list_recordings(tmp_path / "raw").recordings
    assert found.video
    assert found.audio
    assert (found.video.suffix, found.audio.suffix, found.segments) == (".mp4", ".webm", (0,))


def test_two_files_in_webm_keep_one_stem(youtube: YouTube, run: Callable[..., Record], tmp_path: Path) -> None:
    youtube.answers[VISION] = youtube.formats("247", "338")
    assert [file.path for file in run().files] == [f"train/{ID}.mkv", f"train/{ID}.webm"]
    (found,) = list_recordings(tmp_path / "raw").recordings
    assert found.video
    assert found.audio
    assert (found.video.suffix, found.audio.suffix) == (".mkv", ".webm")


def test_another_application_has_the_panorama(youtube: YouTube, run: Callable[..., Record]) -> None:
    youtube.answers[VISION] = youtube.formats("136", "338", projection="MESH")
    youtube.answers[QUEST] = youtube.formats("136", "338")
    record = run()
    assert {file.client for file in record.files} <= {"visionos", "android_vr"}
    assert record.files[0].client == "android_vr"
    assert record.projection == "equirectangular"
    assert youtube.asked == [VISION, QUEST, WEB]  # yt-dlp doubts that QUEST's can be fetched: perhaps WEB has better


def test_another_application_has_the_sound(youtube: YouTube, run: Callable[..., Record]) -> None:
    youtube.answers[VISION] = youtube.formats("136", "251")
    youtube.answers[QUEST] = youtube.formats("338", "136", projection="MESH")
    assert [(file.format, file.client) for file in run().files] == [("136", "visionos"), ("338", "android_vr")]


def test_a_format_that_is_listed_and_not_given_out(
    youtube: YouTube, run: Callable[..., Record], server: Server
) -> None:
    """Where 338 answers 403, the next application's is tried; its AAC only where nobody gives out 338."""
    server.behave({"338": {"status": 403, "times": 1}})
    youtube.answers[VISION] = youtube.formats("136", "338", "258")
    youtube.answers[QUEST] = youtube.formats("136", "338")
    record = run()
    assert [(file.format, file.client) for file in record.files][1] == ("338", "android_vr")


def test_six_channels_where_nobody_gives_out_four(youtube: YouTube, run: Callable[..., Record], server: Server) -> None:
    server.behave({"338": {"status": 403}})
    youtube.answers[VISION] = youtube.formats("136", "338", "258")
    record = run()
    assert record.state == "ok", record.error
    assert record.files[1].path == f"train/{ID}.m4a"
    assert (record.files[1].format, record.channel_order) == ("258", "youtube-aac6")
    assert youtube.asked == [VISION, QUEST, WEB]


@pytest.mark.parametrize(
    ("status", "reason", "sub", "state", "asked"),
    [
        ("ERROR", "Video unavailable", "", "gone", 3),
        ("ERROR", "Video unavailable", "This video has been removed by the uploader", "gone", 3),
        ("LOGIN_REQUIRED", "Private video", "Sign in if you've been granted access to this video", "private", 1),
        ("UNPLAYABLE", "Video unavailable", "The uploader has not made this video available in your country",
         "geo-blocked", 1),
        ("UNPLAYABLE", "Join this channel to get access to members-only content", "", "login-required", 3),
        ("LOGIN_REQUIRED", "Sign in to confirm you’re not a bot", "", "rate-limited", 2),
    ],
)  # fmt: skip
def test_refusals(
    status: str, reason: str, sub: str, state: str, asked: int, youtube: YouTube, run: Callable[..., Record]
) -> None:
    for client in (VISION, QUEST, WEB):
        youtube.answers[client] = youtube.refusal(status, reason, sub)
    record = run()
    assert record.state == state, record.error
    assert len([client for client in youtube.asked if client != "MWEB"]) == asked
    assert reason.split("’")[0] in record.error or sub in record.error


def test_an_interface_that_answers_429(youtube: YouTube, run: Callable[..., Record]) -> None:
    """yt-dlp makes it a warning and a video without formats."""
    youtube.answers = dict.fromkeys((VISION, QUEST, WEB), 429)
    assert run().state == "rate-limited"


def test_what_a_listing_lacks(youtube: YouTube, run: Callable[..., Record], server: Server) -> None:
    for client in (VISION, QUEST, WEB):
        youtube.answers[client] = youtube.formats("136", "338", projection="MESH")
    assert run().state == "cube-map-only"
    for client in (VISION, QUEST, WEB):
        youtube.answers[client] = youtube.formats("136", "251")
    assert run().state == "cube-map-only"  # final, as long as the same are asked
    record = run(clients=["visionos", "android_vr"])
    assert record.state == "no-spatial-audio"
    assert not server.asked()


def test_sizes_are_known_beforehand(youtube: YouTube, run: Callable[..., Record], server: Server) -> None:
    youtube.answers[VISION] = youtube.formats("136", "338")
    assert run(max_mb=0.1).state == "too-large"
    assert not server.asked()


def test_a_file_of_another_size_than_announced(youtube: YouTube, run: Callable[..., Record], server: Server) -> None:
    youtube.answers[VISION] = youtube.formats("136", "338")
    entry = youtube.answers[VISION]
    assert isinstance(entry, dict)
    entry["streamingData"]["adaptiveFormats"][1]["contentLength"] = "17"
    assert run().state == "damaged"
