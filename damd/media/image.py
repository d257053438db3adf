"""Images: `ProcessImageCommand`, its handler, and what an image has that nothing else has."""

from __future__ import annotations

from dataclasses import dataclass

from sqlmodel import Field

from damd.catalogue.tables import Capture, Component, PerceptualHash
from damd.media.base import Family, ProcessMediaCommand, Reading, begin, conclude
from damd.results import IngestResult
from damd.sandbox import Sandbox
from damd.thumbnails import Thumbnails
from damd.world import World, handles_command


class ImageProperties(Component, table=True):
    """An image as it is displayed: `width` and `height` in pixels, after `orientation` (EXIF's, 1 to 8) is applied."""

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
async def handle_process_image(
    cmd: ProcessImageCommand, world: World, sandbox: Sandbox, thumbnails: Thumbnails
) -> IngestResult:
    """Read the image, write its previews, record it.

    Raises:
        FileError: It cannot be read, or changed meanwhile.
    """
    signature = await begin(cmd)
    async with thumbnails.drafts(cmd.file_hash) as drafts:
        options = drafts.options | {"max_pixels": sandbox.settings.max_pixels}
        read = await sandbox.call("image", str(cmd.file_path), **options)
        properties = ImageProperties(
            **{name: read[name] for name in ("width", "height", "orientation", "color_mode", "frames")}
        )
        components: list[Component] = [properties, PerceptualHash(phash=read["phash"])]
        if read["capture"]:
            components.append(Capture(**read["capture"]))
        return await conclude(world, cmd, signature, FAMILY.name, Reading(components, drafts, read["previews"]))


FAMILY = Family(
    name="image",
    mime_types=frozenset(
        {
            "image/jpeg",
            "image/png",
            "image/gif",
            "image/webp",
            "image/tiff",
            "image/bmp",
            "image/avif",
            "image/heic",
            "image/heif",
        }
    ),
    command=ProcessImageCommand,
    handler=handle_process_image,
)
