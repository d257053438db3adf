"""Images: `ProcessImageCommand`, its handler, and what an image has that nothing else has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Field

from damd.catalogue.belonging import RAW_TYPES
from damd.catalogue.components import PerceptualHash
from damd.catalogue.tables import Component
from damd.media.base import Extra, Facts, Family, ProcessMediaCommand, process
from damd.media.said import SAID, said
from damd.results import IngestResult
from damd.world import World, handles_command


class ImageProperties(Component, table=True):
    """An image as it is displayed: `width` and `height` in pixels, after `orientation` (EXIF's, 1 to 8) is applied.

    `frames` counts an animation's pictures, or a document's pages.
    """

    __tablename__ = "image_properties"

    width: int
    height: int
    orientation: int
    color_mode: str = Field(max_length=16)
    frames: int


@dataclass(frozen=True, kw_only=True)
class ProcessImageCommand(ProcessMediaCommand):
    """Make an asset of an image whose content is new."""


@handles_command(ProcessImageCommand)
async def handle_process_image(cmd: ProcessImageCommand, world: World) -> IngestResult:
    """Read the image, write its previews, record it.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    return await process(world, cmd, FAMILY)


def _rows(facts: Facts) -> list[Component]:
    names = ("width", "height", "orientation", "color_mode", "frames")
    rows: list[Component] = [ImageProperties(**{name: facts[name] for name in names})]
    if facts.get("phash"):
        rows.append(PerceptualHash(phash=facts["phash"], crops=facts.get("crops")))
    return [*rows, *said(facts)]


HEIC = Extra("heic", {"pillow-heif": "pillow_heif"})
JXL = Extra("jxl", {"pillow-jxl-plugin": "pillow_jxl"})
RAW = Extra("raw", {"rawpy": "rawpy"})

_PILLOW_TYPES = (
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/heic",
    "image/heif",
    "image/jp2",
    "image/jpeg",
    "image/jxl",
    "image/png",
    "image/qoi",
    "image/tiff",
    "image/vnd.adobe.photoshop",
    "image/vnd.microsoft.icon",
    "image/vnd.ms-dds",
    "image/webp",
    "image/x-icns",
    "image/x-j2c",
    "image/x-pcx",
    "image/x-portable-anymap",
    "image/x-sgi",
    "image/x-tga",
)

FAMILY = Family(
    name="image",
    mime_types=frozenset({*_PILLOW_TYPES, *RAW_TYPES}),
    command=ProcessImageCommand,
    handler=handle_process_image,
    reader="image",
    readers=dict.fromkeys(RAW_TYPES, "raw"),
    rows=_rows,
    tables=(ImageProperties, PerceptualHash, *SAID),
    extras={"image/heic": HEIC, "image/heif": HEIC, "image/jxl": JXL, **dict.fromkeys(RAW_TYPES, RAW)},
)
