"""One clip of a store, as the manifest names it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Clip(BaseModel):
    """One line of the manifest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    source: str  # path of the recording's video below the raw folder
    split: str
    start_s: float  # within the source
    duration_s: float
    width: int
    height: int
    fps: float
    frames: int
    sample_rate: int
    shard: str  # file name
    members: dict[str, tuple[int, int]]  # "mp4", "flac", "segm.png", "json": offset and length of the payload in bytes
    checks: dict[str, float]
    label_fps: float | None = None
    origin: str = Field(default="", exclude_if=lambda origin: not origin)  # the recording's id at its source, if known
    sha256: str | None = None  # of the members' payloads, one after the other in the order of `members`
