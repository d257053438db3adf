"""Films: `ProcessVideoCommand`, its handler, and what a film has that nothing else has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger
from sqlmodel import Field

from damd.catalogue.tables import Component
from damd.media.audio import AudioProperties, AudioTags, audio_rows
from damd.media.base import Extra, Facts, Family, ProcessMediaCommand, process
from damd.media.said import SAID, said
from damd.results import IngestResult
from damd.world import World, handles_command


class VideoProperties(Component, table=True):
    """A film as it is displayed: `width` and `height` in pixels, after `rotation` (degrees clockwise) is applied.

    `frame_rate` in frames a second, `bit_rate` in bits a second; containers and codecs as FFmpeg calls them.
    """

    __tablename__ = "video_properties"

    container: str = Field(max_length=64)
    video_codec: str = Field(max_length=32)
    audio_codec: str | None = Field(default=None, max_length=32)
    duration_s: float | None = None
    width: int
    height: int
    rotation: int
    frame_rate: float | None = None
    bit_rate: int | None = Field(default=None, sa_type=BigInteger)


class FrameHash(Component, table=True):
    """The perceptual hash of the frame at `at_s` seconds, as `PerceptualHash` has it of an image."""

    __tablename__ = "frame_hash"

    id: int | None = Field(default=None, primary_key=True)
    entity_id: int = Field(default=None, nullable=False, foreign_key="entity.id", ondelete="CASCADE", index=True)
    at_s: float
    phash: str = Field(max_length=16)


@dataclass(frozen=True, kw_only=True)
class ProcessVideoCommand(ProcessMediaCommand):
    """Make an asset of a film whose content is new."""


@handles_command(ProcessVideoCommand)
async def handle_process_video(cmd: ProcessVideoCommand, world: World) -> IngestResult:
    """Read the film, make previews of one of its frames, record it.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    return await process(world, cmd, FAMILY)


def _rows(facts: Facts) -> list[Component]:
    if facts.get("family") == "audio":  # a container of films with nothing but sound in it
        return audio_rows(facts)
    rows: list[Component] = [VideoProperties(**facts["properties"])]
    rows += (FrameHash(**each) for each in facts.get("frame_hashes", ()))
    return [*rows, *said(facts)]


EXTRA = Extra("video", {"av": "av", "mutagen": "mutagen"})
_TYPES = frozenset(
    {
        "application/mxf",
        "video/3gpp",
        "video/3gpp2",
        "video/mp2t",
        "video/mp4",
        "video/mpeg",
        "video/ogg",
        "video/quicktime",
        "video/webm",
        "video/x-dv",
        "video/x-flv",
        "video/x-m4v",
        "video/x-matroska",
        "video/x-ms-wmv",
        "video/x-msvideo",
    }
)

FAMILY = Family(
    name="video",
    mime_types=_TYPES,
    command=ProcessVideoCommand,
    handler=handle_process_video,
    reader="video",
    rows=_rows,
    tables=(VideoProperties, FrameHash, *SAID, AudioProperties, AudioTags),
    extras=dict.fromkeys(_TYPES, EXTRA),
)
