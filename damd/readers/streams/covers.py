"""The cover in a recording: found by mutagen, or by FFmpeg where mutagen knows of none, and opened with Pillow."""

from __future__ import annotations

import base64
import binascii
import io
import struct
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

import mutagen
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from mutagen.apev2 import APEv2
from mutagen.asf import ASFTags
from mutagen.flac import FLAC, Picture
from mutagen.id3 import ID3
from mutagen.mp4 import MP4Tags
from PIL import Image, ImageOps

from damd.readers.pixels import make_resizable, to_srgb
from damd.readers.previews import fit, shrink

_FRONT = 3
"""The front of an album among ID3's types of pictures (ID3v2.3, 4.15), which the others have taken over."""
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "WEBP")
MAX_COVER_PIXELS = 64_000_000
"""A cover of 8,000 by 8,000; whatever the configuration allows, a larger one is a bomb."""
_MAX_PICTURES = 20
_MAX_BASE64 = 2**26
"""In characters: the picture of a FLAC cannot have more than 16 MiB."""


class _Cover(NamedTuple):
    kind: int
    data: bytes


def find_cover(tagged: mutagen.FileType | None) -> bytes | None:
    """The picture of the front, else the first one, as mutagen sees them."""
    if tagged is None:
        return None
    try:
        covers = [cover for cover in islice(_covers(tagged), _MAX_PICTURES) if cover.data]
    except (ValueError, LookupError, TypeError, AttributeError, struct.error, mutagen.MutagenError):
        return None  # a damaged one among them costs all of them, and the recording nothing
    chosen = next((cover for cover in covers if cover.kind == _FRONT), covers[0] if covers else None)
    return chosen.data if chosen else None


def _covers(tagged: mutagen.FileType) -> Iterator[_Cover]:
    if isinstance(tagged, FLAC):
        yield from (_Cover(int(picture.type), picture.data) for picture in tagged.pictures)
    tags: Any = tagged.tags
    if tags is not None:
        find = next((find for kind, find in _FINDERS if isinstance(tags, kind)), _in_vorbis_comments)
        yield from find(tags)


def _in_id3(tags: Any) -> Iterator[_Cover]:
    return (_Cover(int(frame.type), frame.data) for frame in tags.getall("APIC"))


def _in_mp4(tags: Any) -> Iterator[_Cover]:
    return (_Cover(_FRONT, bytes(data)) for data in tags.get("covr", ()))


def _in_ape(tags: Any) -> Iterator[_Cover]:
    """Each is a file's name, a NUL, and the file."""
    for name in tags:
        if name.lower().startswith("cover art"):
            data = tags[name].value.partition(b"\0")[2]
            yield _Cover(_FRONT if "front" in name.lower() else 0, data)


def _in_windows_media(tags: Any) -> Iterator[_Cover]:
    """Each is a WM_PICTURE as it is stored: type, length, two texts in UTF-16 with a NUL at their end, the picture."""
    for attribute in tags.get("WM/Picture", ()):
        kind, length = struct.unpack_from("<BI", attribute.value)
        yield _Cover(kind, attribute.value[-length:] if 0 < length <= len(attribute.value) - 9 else b"")


def _in_vorbis_comments(tags: Any) -> Iterator[_Cover]:
    for text in tags.get("metadata_block_picture", ()):
        picture = Picture(_decode(text))
        yield _Cover(int(picture.type), picture.data)
    yield from (_Cover(_FRONT, _decode(text)) for text in tags.get("coverart", ()))


_FINDERS: tuple[tuple[type, Callable[[Any], Iterator[_Cover]]], ...] = (
    (ID3, _in_id3),
    (MP4Tags, _in_mp4),
    (APEv2, _in_ape),
    (ASFTags, _in_windows_media),
)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text[:_MAX_BASE64])
    except binascii.Error:
        return b""


def find_attached(container: InputContainer) -> bytes | None:
    """The first picture that FFmpeg sees; it hands pictures out after each seek, before anything else."""
    if not any(stream.disposition & Disposition.attached_pic for stream in container.streams.video):
        return None
    try:
        container.seek(0)
        for packet in islice(container.demux(), _MAX_PICTURES):
            if packet.stream.disposition & Disposition.attached_pic:
                return bytes(packet) or None
    except FFmpegError:
        pass
    return None


def open_cover(data: bytes, edge: int, max_pixels: int) -> Image.Image | None:
    """The cover upright, in sRGB and no larger than ``edge``; None for one that cannot be shown.

    A cover is never worth a recording, so that whatever is wrong with it, shortage of memory included, ends here.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            if image.width * image.height > min(max_pixels, MAX_COVER_PIXELS):
                return None
            icc_profile = image.info.get("icc_profile")
            image.draft(None, fit(image.size, edge))
            upright = ImageOps.exif_transpose(image)
            cover = to_srgb(shrink(make_resizable(upright), edge), icc_profile)
    except Exception:  # noqa: BLE001 - see above
        return None
    cover.info = {}
    return cover
