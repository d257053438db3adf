"""Sound: `ProcessAudioCommand`, its handler, and what sound has that nothing else has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger
from sqlmodel import Field

from damd.catalogue.tables import Component
from damd.media.base import Extra, Facts, Family, ProcessMediaCommand, process
from damd.results import IngestResult
from damd.world import World, handles_command


class AudioProperties(Component, table=True):
    """How the sound is stored; `bit_rate` in bits a second, `sample_rate` in hertz, `codec` as FFmpeg calls it."""

    __tablename__ = "audio_properties"

    codec: str = Field(max_length=32)
    container: str = Field(max_length=64)
    duration_s: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    bit_rate: int | None = Field(default=None, sa_type=BigInteger)


class AudioTags(Component, table=True):
    """What the file says of the music in it."""

    __tablename__ = "audio_tags"

    title: str | None = Field(default=None, max_length=500)
    artist: str | None = Field(default=None, max_length=500)
    album: str | None = Field(default=None, max_length=500)
    track: int | None = None
    year: int | None = None
    genre: str | None = Field(default=None, max_length=200)


@dataclass(frozen=True, kw_only=True)
class ProcessAudioCommand(ProcessMediaCommand):
    """Make an asset of a recording whose content is new."""


@handles_command(ProcessAudioCommand)
async def handle_process_audio(cmd: ProcessAudioCommand, world: World) -> IngestResult:
    """Read the recording, make a preview of its cover, record it.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    return await process(world, cmd, FAMILY)


def audio_rows(facts: Facts) -> list[Component]:
    """The components that the audio reader's facts make."""
    rows: list[Component] = [AudioProperties(**facts["properties"])]
    if facts.get("tags"):
        rows.append(AudioTags(**facts["tags"]))
    return rows


EXTRA = Extra("audio", {"av": "av", "mutagen": "mutagen"})
_TYPES = frozenset(
    {
        "audio/aac",
        "audio/ac3",
        "audio/aiff",
        "audio/amr",
        "audio/basic",
        "audio/flac",
        "audio/mp4",
        "audio/mpeg",
        "audio/ogg",
        "audio/x-ape",
        "audio/x-caf",
        "audio/x-dsf",
        "audio/x-matroska",
        "audio/x-ms-wma",
        "audio/x-musepack",
        "audio/x-wav",
        "audio/x-wavpack",
    }
)

FAMILY = Family(
    name="audio",
    mime_types=_TYPES,
    command=ProcessAudioCommand,
    handler=handle_process_audio,
    reader="audio",
    rows=audio_rows,
    tables=(AudioProperties, AudioTags),
    extras=dict.fromkeys(_TYPES, EXTRA),
)
